//! The daemon: what binds the protocol cores, the disks and the RDMA stack, and how it is operated.
#![deny(unsafe_code)]

pub mod acceptor;
pub mod admission;
pub mod allocations;
pub mod cli;
pub mod clock;
pub mod computing;
pub mod control;
pub mod disk_buf;
pub mod drains;
pub mod export;
pub mod hosts;
pub mod inspect;
pub mod keys;
pub mod limits;
pub mod log;
pub mod mailbox;
pub mod notify;
pub mod orphans;
pub mod reactor;
pub mod removal;
pub mod serve;
pub mod shared;
pub mod signals;
pub mod status;
pub mod token;
