//! Fuzz targets: each takes any bytes, drives what reads such bytes in the daemon, and asserts what
//! must hold whatever they were. A panic is a finding.
//!
//! `cargo test -p fuzz` replays `corpus/<target>/` and then mutates it for a while, on stable Rust;
//! a failure says how to run the same again. `libfuzzer/` runs the same functions under libFuzzer
//! with coverage, on nightly: see the README.
#![forbid(unsafe_code)]

mod association;
mod commands;
mod export;
mod input;
pub mod limits;
pub mod mutation;
pub mod records;
mod targets;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Takes any bytes and panics when an invariant does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "authentication", run: targets::authentication },
    Target { name: "cm_private_data", run: targets::cm_private_data },
    Target { name: "config_environment", run: targets::config_environment },
    Target { name: "config_text", run: targets::config_text },
    Target { name: "control_request", run: targets::control_request },
    Target { name: "controller", run: targets::controller },
    Target { name: "names", run: targets::names },
    Target { name: "queue_connect", run: targets::queue_connect },
    Target { name: "queue_io", run: targets::queue_io },
    Target { name: "sgl", run: targets::sgl },
    Target { name: "wr_id", run: targets::wr_id },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
