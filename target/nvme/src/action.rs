//! What the caller is to do next.

use crate::admin::AdminCommand;
use crate::auth::Work;
use crate::connect::ConnectRequest;
use crate::io::DiskOp;
use crate::log_page::LogPart;
use crate::permit::{Completion, Permit};
use crate::wire::HostSgl;

/// What the caller is to do about a command.
#[derive(Debug)]
#[must_use = "an action that is not done hangs its host"]
pub enum Action {
    /// Bring the host's bytes, then call [`crate::Queue::handle_fetched`] with all `len` of them.
    Fetch {
        /// The command.
        permit: Permit,
        /// Where they are.
        from: HostData,
        /// How many; at most 4096, and no more than `from` has.
        len: u32,
    },
    /// Do the disk's work, then complete.
    Execute {
        /// The command.
        permit: Permit,
        /// The work.
        op: DiskOp,
    },
    /// Get a buffer of `len` bytes, have [`crate::Controller::fill`] fill it, write it to the
    /// host's memory, then complete with success.
    Return {
        /// The command.
        permit: Permit,
        /// Where to; `to.len == len`.
        to: HostSgl,
        /// Bytes; at most the controller's MDTS.
        len: u32,
        /// What.
        source: Source,
    },
    /// Run the work where it keeps nobody waiting, then call [`crate::Queue::handle_computed`].
    Compute {
        /// The command.
        permit: Permit,
        /// The work.
        work: Box<Work>,
    },
    /// Send this.
    Respond(Completion),
    /// Send this, the last response of this queue, then end its connection: the host disconnected
    /// it. What still runs may be answered before.
    Finish(Completion),
    /// Hand it to [`crate::Controller::handle_admin`] of the controller that owns this queue.
    Admin {
        /// The command.
        permit: Permit,
        /// What it says.
        command: AdminCommand,
    },
    /// Make a controller ([`crate::Controller::connect`]), then [`crate::Queue::connect_admin`]; or
    /// [`crate::Queue::refuse_connect`].
    ConnectAdmin {
        /// The command.
        permit: Permit,
        /// What it asks for.
        request: Box<ConnectRequest>,
    },
    /// Ask the owner of the controller `request.cntlid` ([`crate::Controller::connect_io`]), then
    /// [`crate::Queue::connect_io`]; or [`crate::Queue::refuse_connect`].
    ConnectIo {
        /// The command.
        permit: Permit,
        /// What it asks for.
        request: Box<ConnectRequest>,
    },
    /// Keep the in-capsule data of this capsule, if it has any: a Compare waits for the Write that
    /// is fused to it. It is free when [`crate::Queue::holds_first_half`] says no.
    Hold,
    /// Do both, in this order.
    Both(Box<[Action; 2]>),
    /// End the connection: the host broke the protocol in a way that no status can answer.
    Disconnect {
        /// How.
        cause: DisconnectCause,
    },
    /// Nothing now: the command waits inside the controller.
    None,
}

/// How a host broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DisconnectCause {
    /// A command capsule of fewer than 64 bytes.
    #[error("command capsule of fewer than 64 bytes")]
    ShortCapsule,
    /// More commands outstanding than the queue has entries.
    #[error("more commands outstanding than the queue has entries")]
    QueueOverrun,
}

/// Where the host's data of a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostData {
    /// In the capsule, after the SQE; within the bytes that came.
    InCapsule {
        /// Bytes after the SQE.
        offset: u32,
        /// Bytes of data.
        len: u32,
    },
    /// In the host's memory.
    Host(HostSgl),
}

/// What [`crate::Controller::fill`] writes, or [`crate::Queue::fill_authentication`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An Identify data structure.
    Identify(crate::identify::Structure),
    /// Part of a log page.
    LogPage(LogPart),
    /// The 16 bytes of the host identifier.
    HostIdentifier,
    /// A message of the queue's authentication.
    Authentication,
}
