//! A simulated RDMA stack: devices, wire and peers of one [`Fabric`], deterministic to the byte.
//!
//! The fabric implements `transport::device::Stack` for the target and offers plain host endpoints
//! ([`peer`]). It is one transition system: what may happen next is a list of enabled
//! [`Happening`]s, and whoever drives picks ([`Fabric::step`], [`Fabric::happen`]). Every other
//! choice, "this call fails" and "this post is lost" included, goes through one [`Oracle`], so that
//! a run is its seed or its list of choices.
//!
//! What each provider does at teardown is a table of its own ([`rows`]), which knows nothing of
//! `transport::caps`: the two may contradict each other, and then a run shows who is wrong.
//!
//! A shadow of all memory that posted work requests name watches who touches it. What must never
//! happen is recorded as a [`Violation`] with the rule's number (drain contract S1 to S17), never
//! as a panic in here.
pub mod behaviour;
pub mod limits;
pub mod oracle;
pub mod peer;
pub mod rows;
pub mod violation;

mod cm;
mod completion;
mod connection;
mod device;
mod execution;
mod fabric;
mod fingerprint;
mod happening;
mod inject;
mod memory;
mod queue_pair;
mod reaping;
mod shadow;
mod shared_receives;
mod world;

pub use behaviour::Behaviour;
pub use cm::{SimId, SimListener, SimStack};
pub use completion::SimCq;
pub use device::{SimDevice, SimMr, SimPd};
pub use fabric::{Fabric, Node};
pub use fingerprint::Polls;
pub use happening::Happening;
pub use inject::Injection;
pub use oracle::{Call, Delay, Oracle, Plan, Question, Script, Seeded};
pub use peer::{Host, Peer, PeerEvent};
pub use queue_pair::SimQp;
pub use reaping::Reaping;
pub use shadow::{DiskAccess, DiskTouch};
pub use shared_receives::SimSrq;
pub use violation::{Rule, Violation};
