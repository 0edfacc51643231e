//! Target `config_text` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = fuzz::target("config_text") {
        (target.run)(bytes);
    }
});
