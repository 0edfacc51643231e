//! Target `cm_private_data` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = fuzz::target("cm_private_data") {
        (target.run)(bytes);
    }
});
