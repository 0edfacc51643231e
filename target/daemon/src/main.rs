//! The `sluice` program.
#![forbid(unsafe_code)]

fn main() {}
