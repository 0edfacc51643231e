//! Every bound on what a configuration may say, with its unit and the reason for it.
//!
//! The bounds keep a typing mistake from turning into a daemon that takes all memory; within them
//! whether the machine can afford a value is found out at start.

use std::time::Duration;

/// A closed range of allowed values and the value used when the key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<T> {
    /// Smallest allowed value.
    pub min: T,
    /// Largest allowed value.
    pub max: T,
    /// Value when the key is absent.
    pub default: T,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Bytes of a configuration file: 1 MiB holds thousands of namespaces; more is the wrong file.
pub const FILE_BYTES_MAX: u64 = MIB;

/// Bytes of one line: room for 60 of the longest NQNs. It bounds what finding a column costs.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Brackets within brackets; 4 are the most that any key of ours needs.
pub const NESTING_MAX: usize = 16;

/// Parts of a dotted key; 2 are the most that any key of ours needs. Together with [`NESTING_MAX`]
/// it bounds the depth of recursion over the file's tree: 16 brackets with 16 parts each.
pub const KEY_PARTS_MAX: usize = 16;

/// Diagnostics kept of one file; what is beyond is counted, not shown.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Characters of a source line shown under a diagnostic; one screen line and a half.
pub const EXCERPT_CHARS_MAX: usize = 120;

/// Bytes of an NQN without its terminating NUL. NVMe Base 2.0 §4.5.
pub const NQN_BYTES_MAX: usize = 223;

/// ASCII characters of a serial number: the SN field of Identify Controller. NVMe Base 2.0
/// §5.17.2.1.
pub const SERIAL_CHARS_MAX: usize = 20;

/// ASCII characters of a model number: the MN field of Identify Controller. NVMe Base 2.0
/// §5.17.2.1.
pub const MODEL_CHARS_MAX: usize = 40;

/// Characters of a listener's name: it is a label in logs and tables.
pub const LISTENER_NAME_CHARS_MAX: usize = 64;

/// Characters of `log.level`.
pub const LOG_FILTER_CHARS_MAX: usize = 1024;

/// Bytes of the control socket's path: `sun_path` less its NUL. unix(7).
pub const CONTROL_SOCKET_BYTES_MAX: usize = 107;

/// Bytes of any other path: `PATH_MAX` less its NUL. limits.h(0p).
pub const PATH_BYTES_MAX: usize = 4095;

/// Listeners: each has an id and a place in every discovery log page.
pub const LISTENERS_MAX: usize = 64;

/// Subsystems: each is an entry for every listener in the discovery log page.
pub const SUBSYSTEMS_MAX: usize = 1024;

/// Namespaces of one subsystem: an Identify namespace list is one page of 1024 NSIDs.
pub const NAMESPACES_MAX: usize = 1024;

/// Hosts named by one subsystem.
pub const ALLOWED_HOSTS_MAX: usize = 1024;

/// Hosts with a key of their own.
pub const KEYED_HOSTS_MAX: usize = 4096;

/// Bytes of the name of a systemd credential: a file name. systemd.exec(5).
pub const CREDENTIAL_NAME_BYTES_MAX: usize = 255;

/// Largest NSID: FFFFFFFFh means all namespaces, and a host that asks for the active namespaces
/// after FFFFFFFEh gets an error, so that one is not used either. NVMe Base 2.0 §3.2.1, §5.17.2.3.
pub const NSID_MAX: u32 = 0xFFFF_FFFD;

/// Reactor threads, and the highest number of a core.
pub const REACTORS: Bound<u16> = Bound { min: 1, max: 256, default: 1 };

/// Highest number of a CPU core a reactor may be put on: `CPU_SETSIZE` less one. CPU_SET(3).
pub const CORE_MAX: u16 = 1023;

/// Time a reactor polls after its last work before it sleeps. Beyond 10 ms it is a busy loop.
pub const SPIN: Bound<Duration> = Bound {
    min: Duration::ZERO,
    max: Duration::from_millis(10),
    default: Duration::from_micros(20),
};

/// Hosts (by NQN) with a controller at the same time.
pub const HOSTS: Bound<u32> = Bound { min: 1, max: 4096, default: 64 };

/// Controllers of all hosts, discovery included. The spec has 65519 ids for each subsystem;
/// 16384 of a few KiB each stay a small part of memory.
pub const CONTROLLERS: Bound<u32> = Bound { min: 1, max: 16384, default: 256 };

/// Queues of all controllers, admin queues included: each is one connection with a QP.
pub const QUEUES: Bound<u32> = Bound { min: 2, max: 65536, default: 1024 };

/// Entries of one I/O queue. Linux hosts ask for 16 to 1024, RDMA hosts for 128 at most.
pub const QUEUE_DEPTH: Bound<u16> = Bound { min: 16, max: 1024, default: 128 };

/// I/O queues granted to one controller. A Linux host asks for one per CPU.
pub const IO_QUEUES: Bound<u16> = Bound { min: 1, max: 256, default: 8 };

/// Data bytes of one command, a power of two (MDTS). A keyed SGL descriptor counts 24 bits.
pub const TRANSFER_BYTES: Bound<u32> = Bound { min: 4 << 10, max: 4 << 20, default: 1 << 20 };

/// In-capsule data bytes of one command, in steps of [`IN_CAPSULE_STEP_BYTES`]; posted per entry.
pub const IN_CAPSULE_BYTES: Bound<u32> = Bound { min: 0, max: 16 << 10, default: 4 << 10 };

/// Step of [`IN_CAPSULE_BYTES`]: a page, so that the data is aligned for direct I/O.
pub const IN_CAPSULE_STEP_BYTES: u32 = 4 << 10;

/// Data buffers of one reactor on one device. It is pinned memory.
pub const POOL_BYTES: Bound<u64> = Bound { min: 4 * MIB, max: 64 * GIB, default: 256 * MIB };

/// Commands of the largest transfer that the pool holds at least: one in use, one being fetched,
/// and as many again, so that a slow disk cannot stop everything.
pub const POOL_TRANSFERS_MIN: u64 = 4;

/// Connections that may be closing at the same time; new ones are refused beyond it.
pub const CLOSING: Bound<u32> = Bound { min: 1, max: 65536, default: 256 };

/// Time a host has from the connection's request to its Connect command.
pub const HANDSHAKE: Bound<Duration> = Bound {
    min: Duration::from_millis(100),
    max: Duration::from_secs(120),
    default: Duration::from_secs(10),
};

/// Longest keep-alive timeout (KATO) a host may ask for.
pub const KEEP_ALIVE_MAX: Bound<Duration> = Bound {
    min: Duration::from_secs(1),
    max: Duration::from_secs(86_400),
    default: Duration::from_secs(3_600),
};

/// Silence after which a discovery controller without keep-alive is ended.
pub const DISCOVERY_IDLE: Bound<Duration> = Bound {
    min: Duration::from_secs(1),
    max: Duration::from_secs(86_400),
    default: Duration::from_secs(120),
};

/// Bytes of one namespace: 1 MiB is the least that tools can partition; 8 EiB less one block is
/// what a signed file offset reaches, and 16 TiB less one page is what ext4 makes. 1 PiB is kept
/// as the bound, for XFS and sparse files.
pub const NAMESPACE_BYTES_MIN: u64 = MIB;

/// Largest namespace, see [`NAMESPACE_BYTES_MIN`].
pub const NAMESPACE_BYTES_MAX: u64 = 1024 * TIB;

/// Largest disk in memory.
pub const RAM_BYTES_MAX: u64 = 16 * TIB;

/// Service id of NVMe over RDMA and TCP. IANA `nvme`, NVMe RDMA Transport 1.0 §3.1.
pub const PORT_DEFAULT: u16 = 4420;

const _: () = assert!(TRANSFER_BYTES.max.is_power_of_two() && TRANSFER_BYTES.max < 1 << 24);
const _: () = assert!(POOL_BYTES.default >= (4 << 20) * POOL_TRANSFERS_MIN);
const _: () = assert!(IN_CAPSULE_BYTES.max.is_multiple_of(IN_CAPSULE_STEP_BYTES));
const _: () = assert!(NSID_MAX < u32::MAX - 1);
