//! The whole daemon in a simulated world: its reactors and its acceptor over a simulated RDMA
//! stack, simulated disks, and hosts that write, read, fail and come back, all in virtual time.
//!
//! A run is its seed: the provider's row, the shape of the world and which faults there are, each
//! with a rate of its own, are drawn from it. First everything may go wrong; then nothing does any
//! more, and everybody has to be served again, finish, and find what it wrote; then the daemon ends
//! and nothing may be left.
//!
//! What is looked at: data against a model of each disk ([`model`](self)), also after the daemon
//! was killed and the disks lost their caches; each command answered once; the shadow of all memory
//! that devices and disks may touch; the account and the time of each connection's end; memory,
//! controllers and ids at the end.
#![forbid(unsafe_code)]

mod daemon;
mod dice;
mod disk;
mod engine;
mod host;
mod kth;
mod ledger;
mod limits;
mod model;
mod plan;
mod stamp;
mod world;

pub use kth::{fail_call, fail_each_call};
pub use world::Report;

/// Plays the run of a seed, with a trace if it is asked for.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Report {
    world::play(plan::Plan::of_seed(seed), trace)
}

/// What a seed means, for people.
#[must_use]
pub fn describe(seed: u64) -> String {
    format!("{:#?}", plan::Plan::of_seed(seed))
}
