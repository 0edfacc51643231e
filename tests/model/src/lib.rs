//! Exhaustive search through the close of a connection: the shipped `transport::Connection` over
//! the simulated device, with a small driver ([`player`]) in the reactor's place.
//!
//! A state is the path of choices that leads to it and a fingerprint of what decides how it goes
//! on: the drain with its times as they are from now, the in-flight table, the device, the driver.
//! Successors are found by playing the path again from the start, because a connection that holds
//! registered memory can't be copied. The search is breadth first, so that the first violation
//! found is a shortest one, and gives a path up where its fingerprint has been seen before.
//!
//! A fingerprint leaves out what nothing looks at any more, and that is most of what keeps the
//! search small: from `Destroying` on the drain's counts, causes and events
//! (`transport/tests/fingerprint.rs` compares drains that differ in them); once nothing is posted
//! any more, how completions of the two queues mix; and what lies in a completion queue that is
//! polled no more ([`sim::Polls`]). The fabric is coarse: it asks for the outcome of an axis only
//! where outcomes differ.
//!
//! The search is our own ([`search`], about 150 lines) and not `stateright`: there a state is a
//! value, and its actions, its successors and its properties are each computed from it, which here
//! would be three replays for each transition instead of one; its liveness check also takes a
//! state that was reached twice for harmless. What it would add, a web explorer, has no use here.
#![forbid(unsafe_code)]
pub mod choices;
pub mod limits;
pub mod player;
pub mod results;
pub mod search;
pub mod stage;
pub mod variant;

mod actions;
mod end;
