//! What threads tell a reactor. Slots and generations only: the thing named may be gone.

use std::sync::mpsc::SyncSender;

use nvme::auth::Computed;
use nvme::{ConnectError, ConnectRequest, IoGrant, IoView};
use transport::cause::Cause;
use transport::device::{ConnectRequest as CmRequest, Stack};
use transport::reaper::Outcome;

use crate::admission::Ticket;
use crate::orphans::OrphanId;
use crate::reactor::claims::Claim;
use crate::status::{Controller, Reactor};
use crate::token::Name;

/// A connection request on its way to its reactor.
pub struct Incoming<S: Stack> {
    /// The CM's request.
    pub request: CmRequest<S>,
    /// The device it came in by.
    pub device: S::Device,
    /// The port it came in by.
    pub port: u16,
    /// What the host says of the queue.
    pub claim: nvme::rdma::RequestPrivateData,
    /// Its place among the connections.
    pub ticket: Ticket,
}

/// A reactor's part of `status`.
pub struct ReactorStatus {
    /// The reactor itself.
    pub reactor: Reactor,
    /// Its controllers, each with the NQN of its subsystem. Their queues are filled in by whoever
    /// asked, from all reactors.
    pub controllers: Vec<(Name, String, Controller)>,
    /// Its queues, each with the controller it belongs to.
    pub queues: Vec<(Name, crate::status::Queue)>,
    /// Disk operations that have not come back.
    pub disk_operations: usize,
    /// What it counted.
    pub(crate) counters: crate::reactor::Counters,
}

/// A message to a reactor.
pub enum Message<S: Stack> {
    /// A new connection.
    Connect(Box<Incoming<S>>),
    /// A reaper is done.
    Reaped(Outcome),
    /// A queue pair raised an error.
    QueuePairError(Name),
    /// A queue pair received its first message before the CM's event.
    FirstMessage(Name),
    /// A completion queue of this device failed.
    CompletionQueueError(u64),
    /// This device failed.
    DeviceFatal(u64),
    /// This device is being taken away, and still works.
    DeviceRemoved(u64),
    /// To the owner of a controller: this queue asks to join it.
    Join {
        /// The controller.
        controller: Name,
        /// The queue that asks.
        queue: Name,
        /// What it asks for.
        request: Box<ConnectRequest>,
    },
    /// The answer to [`Message::Join`].
    Joined {
        /// The queue that asked.
        queue: Name,
        /// What it is granted.
        grant: Result<Box<IoGrant>, ConnectError>,
    },
    /// What was computed for the authentication of this queue's host.
    Computed {
        /// The queue.
        queue: Name,
        /// What came of it.
        computed: Computed,
    },
    /// To the owner of a controller: this queue is gone, disk operations included.
    QueueGone {
        /// The controller.
        controller: Name,
        /// The queue.
        queue: Name,
    },
    /// From the owner of a controller: what its I/O queues see has changed.
    View {
        /// The queue.
        queue: Name,
        /// What it sees from now on.
        view: IoView,
    },
    /// From the owner of a controller: close this queue.
    Close {
        /// The queue.
        queue: Name,
        /// Why.
        cause: Cause,
    },
    /// Writes of a dead association have ended on this disk: look again at what waits for them.
    OrphanGone,
    /// Blocks are claimed: say when no write of this reactor to them is out.
    Claim(Claim),
    /// To the claimant: a reactor has none out.
    Claimed(OrphanId),
    /// Say how things are.
    Status(SyncSender<ReactorStatus>),
    /// Close everything, and end when nothing is left.
    Shutdown,
}
