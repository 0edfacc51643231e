//! Target `authentication` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = fuzz::target("authentication") {
        (target.run)(bytes);
    }
});
