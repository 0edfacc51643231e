//! What a valid configuration says, as plain data.
//!
//! [`crate::parse`] and [`crate::load`] are where these values come from: they fill in every
//! default and have checked every bound of [`crate::limits`] and every reference between parts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::diagnostic::Located;
use crate::names::{ListenerName, LogFilter, Model, Nsid, Serial};
use crate::nqn::{HostNqn, SubsystemNqn};
use crate::size::SizeBytes;

/// The whole configuration of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where identities and reservations will be kept; absolute. Nothing uses it yet.
    pub state_dir: Located<PathBuf>,
    /// The admin socket; absolute, at most 107 bytes.
    pub control_socket: Located<PathBuf>,
    /// What is logged and how.
    pub log: Log,
    /// Where the data path runs.
    pub reactors: Reactors,
    /// Whether and how RDMA is used.
    pub rdma: Rdma,
    /// Bounds on what hosts may take.
    pub limits: Limits,
    /// Addresses served, in the file's order; names and sockets are unique.
    pub listeners: Vec<Listener>,
    /// Hosts that have to authenticate themselves, in the file's order; NQNs are unique.
    pub hosts: Vec<Host>,
    /// What is exported, in the file's order; NQNs are unique.
    pub subsystems: Vec<Subsystem>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Filter in the syntax of tracing's `EnvFilter`.
    pub level: LogFilter,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[reactors]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reactors {
    /// How many, and on which cores.
    pub placement: Placement,
    /// How long a reactor polls after its last work before it sleeps; 0 to 10 ms.
    pub spin: Duration,
}

/// How many reactors there are and where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// That many threads, wherever the scheduler puts them; 1 to 256.
    Count(u16),
    /// One thread pinned to each of these cores; not empty, no repeats.
    Cores(Vec<u16>),
}

impl Placement {
    /// Number of reactors.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => usize::from(*count),
            Self::Cores(cores) => cores.len(),
        }
    }
}

/// `[rdma]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rdma {
    /// What a machine without RDMA means.
    pub mode: RdmaMode,
    /// Whether responses may invalidate the host's key.
    pub send_with_invalidate: SendWithInvalidate,
}

/// What it means that no RDMA device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RdmaMode {
    /// Start without, and try again in the background.
    Auto,
    /// Refuse to start.
    On,
    /// Never open a device.
    Off,
}

/// Use of SEND with Invalidate for responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendWithInvalidate {
    /// Where the host asks for it and the device is known to do it right.
    Auto,
    /// Never: the host invalidates its key itself.
    Off,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Hosts, by NQN, with a controller at the same time.
    pub hosts: u32,
    /// Controllers at the same time, discovery controllers included.
    pub controllers: u32,
    /// Queues at the same time, admin queues included.
    pub queues: u32,
    /// Entries of one I/O queue.
    pub queue_depth: u16,
    /// I/O queues granted to one controller.
    pub io_queues: u16,
    /// Data bytes of one command (MDTS): a power of two, 4 KiB to 4 MiB.
    pub transfer_bytes: u32,
    /// In-capsule data bytes of one command: 0 to 16 KiB in steps of 4 KiB.
    pub in_capsule_bytes: u32,
    /// Data buffers of one reactor on one device.
    pub pool: SizeBytes,
    /// Connections that may be closing at the same time.
    pub closing: u32,
    /// Time from a connection's request to its Connect command.
    pub handshake: Duration,
    /// Longest keep-alive timeout that a host may ask for.
    pub keep_alive_max: Duration,
    /// Silence after which a discovery controller without keep-alive is ended.
    pub discovery_idle: Duration,
}

/// `[[listener]]`: one address on one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique name, for `subsystem.listeners` and for logs.
    pub name: ListenerName,
    /// How hosts talk to it.
    pub transport: Transport,
    /// Address to listen on; `0.0.0.0` and `::` mean every address of the machine.
    pub address: Located<IpAddr>,
    /// Service id (the TCP port on iWARP); never 0.
    pub port: u16,
}

/// Transport of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// NVMe over RDMA: InfiniBand, RoCE or iWARP.
    Rdma,
}

/// `[[host]]`: a host that has to authenticate itself, wherever it may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub nqn: Located<HostNqn>,
    /// Where its key is.
    pub key: KeySource,
    /// Where the key is that the controller shows who it is with, to hosts that ask.
    pub controller_key: Option<KeySource>,
    /// Hash functions allowed, the most wanted first; not empty, no repeats.
    pub hashes: Vec<ChapHash>,
    /// Diffie-Hellman groups allowed, the most wanted first; not empty, no repeats.
    pub groups: Vec<ChapGroup>,
}

/// Where a key is kept. Keys never stand in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file; absolute.
    File(Located<PathBuf>),
    /// A credential that systemd hands over: a file name.
    Credential(Located<String>),
}

/// A hash function of DH-HMAC-CHAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChapHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A Diffie-Hellman group of DH-HMAC-CHAP (RFC 7919).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChapGroup {
    /// None.
    Null,
    /// 2048 bits.
    Ffdhe2048,
    /// 3072 bits.
    Ffdhe3072,
    /// 4096 bits.
    Ffdhe4096,
    /// 6144 bits.
    Ffdhe6144,
    /// 8192 bits.
    Ffdhe8192,
}

/// `[[subsystem]]`: an NVM subsystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subsystem {
    /// Unique name; where it is written is also where the subsystem is.
    pub nqn: Located<SubsystemNqn>,
    /// Serial number; from the NQN when not given, so the same after every restart.
    pub serial: Serial,
    /// Model number.
    pub model: Model,
    /// Who may connect.
    pub hosts: AllowedHosts,
    /// Listeners it is reachable on: the names of `subsystem.listeners`, or all of them.
    pub listeners: Vec<ListenerName>,
    /// Namespaces in ascending order of their NSID; NSIDs are unique.
    pub namespaces: Vec<Namespace>,
}

/// Who may connect to a subsystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHosts {
    /// `allow_any_host = true`: whoever reaches the listener.
    Any,
    /// Only these; nobody when empty.
    Only(Vec<HostNqn>),
}

/// `[[subsystem.namespace]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Unique within its subsystem; 1 to FFFFFFFDh.
    pub nsid: Nsid,
    /// Unique in the file; from the NQN and the NSID (version 5) when not given.
    pub uuid: Uuid,
    /// Namespace globally unique identifier, where given; never all zero, unique in the file.
    pub nguid: Option<[u8; 16]>,
    /// IEEE extended unique identifier, where given; never all zero, unique in the file.
    pub eui64: Option<[u8; 8]>,
    /// Where the blocks are.
    pub backend: Backend,
    /// Bytes of a logical block; `None` is the device's own, and 512 for what is no device.
    pub block_size: Option<BlockSize>,
    /// Use of the page cache; only matters for [`Backend::File`] and [`Backend::Device`].
    pub direct: DirectIo,
    /// Refuse every command that changes blocks.
    pub read_only: bool,
}

/// Where the blocks of a namespace are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A regular file.
    File {
        /// Absolute path.
        path: Located<PathBuf>,
        /// Size to make the file with when it is absent; `None`: it must exist.
        create: Option<SizeBytes>,
    },
    /// A block device.
    Device {
        /// Absolute path.
        path: Located<PathBuf>,
    },
    /// Memory of the daemon: gone when it ends.
    Ram {
        /// Size in bytes.
        size: Located<SizeBytes>,
    },
    /// Nothing: writes are dropped. For measuring.
    Null {
        /// Size in bytes.
        size: SizeBytes,
    },
}

/// Bytes of a logical block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes.
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockSize {
    /// Size in bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

/// Whether I/O goes past the page cache (`O_DIRECT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectIo {
    /// Where the file system and the device allow it.
    Auto,
    /// Or refuse to start.
    On,
    /// Never.
    Off,
}
