//! Mistakes that must not compile: the rules of ownership as the compiler enforces them.
//!
//! The answers beside the cases are those of rustc 1.95. Another compiler may word them
//! differently: read what changed, then `TRYBUILD=overwrite cargo test -p transport`.

#[test]
fn what_a_device_may_touch_and_the_proofs_cannot_be_misused() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
