//! NVMe over Fabrics: controllers, discovery and the NVM command set as a protocol core.
//!
//! Nothing here does I/O, reads a clock or starts a thread. A [`Queue`] takes capsules and returns
//! [`Action`]s; a [`Controller`] takes the admin commands among them. Both live on one reactor each;
//! what they tell each other travels as plain values ([`ConnectRequest`], [`IoGrant`], [`IoView`]).
//!
//! A command's life: [`Queue::handle_capsule`] makes a [`Permit`], the caller does what the
//! [`Action`] says, and [`Queue::complete`] turns the permit into the response capsule. The permit
//! exists once and must be used up, so no command is answered twice or never.
#![forbid(unsafe_code)]

pub mod action;
pub mod activity;
pub mod admin;
pub mod aer;
pub mod connect;
pub mod controller;
mod data;
pub mod discovery;
pub mod export;
pub mod features;
pub mod ident;
pub mod identify;
pub mod io;
mod keep_alive;
pub mod limits;
pub mod log_page;
pub mod now;
pub mod permit;
pub mod property;
pub mod queue;
pub mod rdma;
pub mod registry;
pub mod wire;

pub use action::{Action, DisconnectCause, HostData, Source};
pub use activity::{IoActivity, IoCounts};
pub use admin::AdminCommand;
pub use connect::{ConnectError, ConnectRequest, IoGrant, IoView};
pub use controller::{CloseReason, Controller, ControllerEvent, EndCause};
pub use discovery::Arrival;
pub use export::{
    ControllerLimits, Discovery, Export, Identity, Namespace, NamespaceFeatures, Port, Subsystem,
    TransportAddress, TransportKind,
};
pub use ident::{
    Cid, Cntlid, DISCOVERY_NQN, DiskId, HostNqn, NqnError, Nsid, PortId, Qid, RKey, SubNqn,
};
pub use io::{DiskOp, Extent, Ranges};
pub use now::Now;
pub use permit::{Completion, Outcome, Permit};
pub use queue::{Queue, QueueKind};
pub use rdma::TransportClaim;
pub use registry::{Busy, Registry};
pub use wire::{Cqe, HostSgl, Sgl, Sqe, Status};
