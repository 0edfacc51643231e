//! What an operator can see of a running daemon, as plain data.
//!
//! These are the JSON of `sluice status -o json` and of the control socket. Names are stable:
//! fields are added, never renamed or given another meaning. A field that an older daemon does not
//! send reads as its default, one that a newer daemon sends is ignored. Units are in the names.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::drains::{DrainList, DrainQuery};

/// What answers the control socket: called on its thread, never on a reactor.
pub trait Inspect: Send + Sync {
    /// A picture of now. It may wait for the reactors, but not longer than a few seconds.
    fn status(&self) -> Status;

    /// The closes asked for, as far as they are kept. Waits for nothing.
    fn drains(&self, query: DrainQuery) -> DrainList;
}

/// Everything about one daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the daemon's program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Where in its life it is.
    pub state: DaemonState,
    /// The configuration file it was started with.
    pub config_path: String,
    /// The RDMA stack.
    pub rdma: Rdma,
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// In the order of the file; discovery is not among them.
    pub subsystems: Vec<Subsystem>,
    /// Controllers of the discovery subsystem.
    pub discovery: Vec<Controller>,
    /// By index.
    pub reactors: Vec<Reactor>,
    /// How connections ended.
    pub drains: Drains,
    /// What happened since the start.
    pub counters: Counters,
}

impl Status {
    /// The part that every process knows of itself; the rest is empty.
    pub fn of_this_process(config_path: &Path, started: Instant, state: DaemonState) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: started.elapsed().as_secs(),
            state,
            config_path: config_path.display().to_string(),
            ..Self::default()
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$note])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The word used in JSON and in tables.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// Where in its life a daemon is.
    DaemonState {
        /// Not all of its threads and disks are up.
        #[default]
        Starting = "starting",
        /// Open for hosts, as far as its listeners are.
        Serving = "serving",
        /// On its way out: connections are being ended.
        Draining = "draining",
    }
}

words! {
    /// Whether RDMA can be used.
    RdmaState {
        /// The configuration says not to.
        #[default]
        Off = "off",
        /// There is no device or no stack yet; it is tried again.
        Waiting = "waiting",
        /// The stack is open.
        Ready = "ready",
    }
}

words! {
    /// Whether hosts can reach a listener.
    ListenerState {
        /// Not yet, or no more; it is tried again.
        #[default]
        Waiting = "waiting",
        /// Nor will they: the configuration says so, or the daemon ends.
        Off = "off",
        /// They can.
        Listening = "listening",
    }
}

words! {
    /// Life of a controller as its host sees it. NVMe Base 2.0 §3.5.
    ControllerState {
        /// CC.EN is 0.
        #[default]
        Disabled = "disabled",
        /// CSTS.RDY is 1.
        Ready = "ready",
        /// CSTS.SHST is not 00b.
        Shutdown = "shutdown",
        /// CSTS.CFS is 1.
        Fatal = "fatal",
        /// Its association has ended and its queues are being drained.
        Ending = "ending",
    }
}

/// The RDMA stack of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rdma {
    /// Whether it can be used.
    pub state: RdmaState,
    /// What it waits for, as a sentence.
    pub waiting: Option<String>,
}

/// An address on which hosts are served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: String,
    /// IP address.
    pub address: String,
    /// Service id.
    pub port: u16,
    /// `rdma`.
    pub transport: String,
    /// Whether hosts can reach it.
    pub state: ListenerState,
    /// Why it waits or is off, as a sentence.
    pub reason: Option<String>,
    /// RDMA device the address belongs to; none when it stands for all, or waits.
    pub device: Option<String>,
}

/// An NVM subsystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subsystem {
    /// Its NVMe Qualified Name.
    pub nqn: String,
    /// Serial number.
    pub serial: String,
    /// By NSID.
    pub namespaces: Vec<Namespace>,
    /// By CNTLID.
    pub controllers: Vec<Controller>,
}

/// A namespace and the disk behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Namespace ID.
    pub nsid: u32,
    /// As hosts see it.
    pub uuid: String,
    /// Size.
    pub size_bytes: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// The disk, for people: `file /srv/a.img (direct, io_uring)`.
    pub backend: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// A controller: one association of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Controller {
    /// Controller ID.
    pub cntlid: u16,
    /// NQN the host gave.
    pub host_nqn: String,
    /// Host Identifier, as a UUID.
    pub host_id: String,
    /// Keep-alive timeout; 0 is none.
    pub kato_ms: u64,
    /// Name of the listener its admin queue came in by.
    pub listener: String,
    /// Address of the host, of the admin queue.
    pub peer: String,
    /// Its life as the host sees it.
    pub state: ControllerState,
    /// By queue id; the admin queue is 0.
    pub queues: Vec<Queue>,
}

/// A queue pair of NVMe, which is one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Queue ID.
    pub qid: u16,
    /// Index of its reactor.
    pub reactor: usize,
    /// RDMA device.
    pub device: String,
    /// Entries.
    pub depth: u32,
    /// Commands accepted and not yet answered.
    pub in_flight: u32,
    /// Commands since it was connected.
    pub commands: u64,
    /// RDMA queue pair number.
    pub qp_number: u32,
    /// Address of the host.
    pub peer: String,
}

/// A thread of the data path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reactor {
    /// From 0.
    pub index: usize,
    /// Core it is pinned to.
    pub core: Option<u16>,
    /// Connections that are not closing.
    pub connections: u32,
    /// Connections on their way out.
    pub closing: u32,
    /// Returns from waiting since the start: stands still when idle.
    pub wakeups: u64,
    /// One for each device it uses.
    pub lanes: Vec<Lane>,
}

/// What one reactor holds of one RDMA device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lane {
    /// RDMA device.
    pub device: String,
    /// Row of the table of providers that its drains follow.
    pub provider: String,
    /// Data buffers in use.
    pub pool_used_bytes: u64,
    /// Data buffers registered.
    pub pool_total_bytes: u64,
}

/// How connections ended. `closed` is the sum of `clean`, `late` and `quarantined`; the latter two,
/// what leaked and what ended at the deadline should stay 0. Each end in full: `sluice drains`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drains {
    /// Connections whose end is complete.
    pub closed: u64,
    /// Of those: everything that was waited for came.
    pub clean: u64,
    /// A deadline ended the wait for something, and no memory was lost.
    pub late: u64,
    /// The wait for flushed completions ended at its deadline.
    pub deadline_met: u64,
    /// Connections given up with all their memory, because their queue pair could not be destroyed.
    pub quarantined: u64,
    /// Work requests whose fate is unknown for ever.
    pub work_requests_leaked: u64,
    /// Data buffers lost to those.
    pub buffers_leaked: u64,
    /// Disk operations that never came back.
    pub disk_operations_leaked: u64,
    /// Longest time from a connection's first cause to close to the destruction of its queue pair.
    pub slowest_to_destroy_ms: u64,
    /// Closes in which this state ended at its deadline; one close may be in several.
    pub deadlines: BTreeMap<String, u64>,
    /// Closes by what began them.
    pub first_causes: BTreeMap<String, u64>,
}

impl Drains {
    /// Whether anything was given up.
    pub fn lost_anything(&self) -> bool {
        self.quarantined > 0
            || self.work_requests_leaked > 0
            || self.buffers_leaked > 0
            || self.disk_operations_leaked > 0
    }
}

/// What happened since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Connections established.
    pub connections_accepted: u64,
    /// Connection requests refused, for whatever reason.
    pub connections_refused: u64,
    /// Connections that sent no Connect command in time.
    pub handshakes_timed_out: u64,
    /// Controllers that ended because their host fell silent.
    pub keep_alives_expired: u64,
    /// Connections ended because the host broke the protocol.
    pub protocol_errors: u64,
    /// Commands answered, admin and fabrics commands included.
    pub commands_completed: u64,
    /// Of those: with a status that is not success.
    pub commands_failed: u64,
    /// Data sent to hosts.
    pub read_bytes: u64,
    /// Data taken from hosts.
    pub written_bytes: u64,
    /// Disk operations that failed.
    pub disk_errors: u64,
    /// Completions that belonged to no work request; expected after a forced end.
    pub stale_completions: u64,
    /// Log lines lost because whoever reads the log was too slow.
    pub log_lines_dropped: u64,
    /// Log lines not written because the same place of the program had written too many.
    pub log_lines_suppressed: u64,
    /// Allocations of the process so far; only debug builds count them.
    pub allocations: u64,
}
