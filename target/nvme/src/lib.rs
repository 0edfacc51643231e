//! NVMe over Fabrics: controllers, discovery and the NVM command set as a protocol core.
//!
//! Nothing here does I/O, reads a clock or starts a thread. A [`Queue`] takes capsules and returns
//! [`Action`]s; a [`Controller`] takes the admin commands among them. Both live on one reactor
//! each; what they tell each other travels as plain values ([`ConnectRequest`], [`IoGrant`],
//! [`IoView`]).
//!
//! A command's life: [`Queue::handle_capsule`] makes a [`Permit`], the caller does what the
//! [`Action`] says, and [`Queue::complete`] turns the permit into the response capsule. The permit
//! exists once and must be used up, so no command is answered twice or never.
//!
//! # What the caller owes
//!
//! - Every [`Permit`] ends: answered, or abandoned when its connection is gone.
//! - After each call to a [`Controller`], its events are polled until there are none and its timer
//!   is set anew.
//! - Messages from a controller's reactor to a queue's arrive in the order in which they were sent:
//!   a view that follows a grant must not overtake it.
//! - [`Controller::io_queue_gone`] is called once for each granted I/O queue, also for one whose
//!   connection ended before the grant reached it, and only when nothing of the queue's I/O runs.
//! - [`Controller::io_quiesced`] states a fact about the moment of the call: no I/O queue of the
//!   controller exists and none of its I/O runs. It may be called whenever that is so.
//!
//! # Where to look
//!
//! | question | module |
//! |---|---|
//! | What may a capsule look like? | [`wire`], [`queue`] |
//! | Who may connect, and with which error not? | [`connect`], [`controller`] |
//! | How does a host show who it is? | [`auth`] |
//! | What does a host see of it? | [`property`], [`identify`], [`features`], [`log_page`] |
//! | Which I/O reaches a disk? | [`io`] |
//! | What does the connection manager's private data say? | [`rdma`] |
//! | What is exported? | [`export`], [`discovery`] |
//!
//! Reservations, asymmetric namespace access and Write Uncorrectable do not exist here, and
//! Identify says so.
//!
//! # For fuzzers
//!
//! Any bytes may be given to [`Sqe::parse`], [`Sgl::parse`], [`AdminCommand::parse`],
//! [`rdma::RequestPrivateData::parse`], [`Queue::handle_capsule`] and, as the data of a command,
//! [`Queue::handle_fetched`].
#![forbid(unsafe_code)]

pub mod action;
pub mod activity;
pub mod admin;
pub mod aer;
pub mod auth;
pub mod connect;
pub mod controller;
mod data;
pub mod discovery;
pub mod error_log;
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
pub use error_log::ErrorLog;
pub use export::{
    ControllerLimits, Discovery, Export, Identity, Namespace, NamespaceFeatures, Port, Subsystem,
    TransportAddress, TransportKind,
};
pub use ident::{
    Cid, Cntlid, DISCOVERY_NQN, DiskId, HostNqn, NqnError, Nsid, PortId, Qid, RKey, SubNqn,
};
pub use io::{CompareAndWrite, DiskOp, Extent, Ranges};
pub use now::Now;
pub use permit::{Completion, Outcome, Permit};
pub use queue::{Queue, QueueKind};
pub use rdma::TransportClaim;
pub use registry::{Busy, Registry};
pub use wire::{Cqe, HostSgl, Location, Refusal, Sgl, Sqe, Status};
