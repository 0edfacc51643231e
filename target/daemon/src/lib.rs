//! The daemon: what binds the protocol cores, the disks and the RDMA stack, and how it is operated.
#![deny(unsafe_code)]

pub mod cli;
pub mod control;
pub mod log;
pub mod notify;
pub mod signals;
pub mod status;
