//! What is exported: built by the caller from its configuration, immutable, swapped as a whole.

use std::sync::Arc;

use uuid::Uuid;

use crate::auth::Credentials;
use crate::ident::{DiskId, HostNqn, Nsid, PortId, SubNqn};
use crate::limits;

/// Everything that hosts can reach.
#[derive(Debug, Clone)]
pub struct Export {
    /// NVM subsystems; NQNs are unique, none is the discovery NQN.
    pub subsystems: Vec<Arc<Subsystem>>,
    /// Ports; ids are unique.
    pub ports: Vec<Arc<Port>>,
    /// The discovery subsystem of this target.
    pub discovery: Discovery,
}

impl Export {
    /// The subsystem of that name.
    pub fn subsystem(&self, nqn: &SubNqn) -> Option<&Arc<Subsystem>> {
        self.subsystems.iter().find(|subsystem| subsystem.nqn == *nqn)
    }

    /// The port of that id.
    pub fn port(&self, id: PortId) -> Option<&Arc<Port>> {
        self.ports.iter().find(|port| port.id == id)
    }
}

/// The discovery subsystem; reachable on every port by every host.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// Generation of the discovery log: must grow whenever what any host would see has changed.
    pub genctr: u64,
    /// Identity shown by its controllers.
    pub identity: Identity,
    /// Limits of its controllers; no I/O queues whatever they say.
    pub limits: ControllerLimits,
}

/// What Identify Controller says about who we are; ASCII, space padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Serial number; the same after every restart.
    pub serial: [u8; 20],
    /// Model number.
    pub model: [u8; 40],
    /// Firmware revision.
    pub firmware: [u8; 8],
}

impl Identity {
    /// Pads with spaces, cuts what is too long, and replaces what is not printable ASCII by `?`.
    pub fn new(serial: &str, model: &str, firmware: &str) -> Self {
        Self { serial: padded(serial), model: padded(model), firmware: padded(firmware) }
    }
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (byte, char) in field.iter_mut().zip(text.chars()) {
        let printable = char.is_ascii_graphic() || char == ' ';
        *byte = if printable { u8::try_from(char).unwrap_or(b'?') } else { b'?' };
    }
    field
}

/// An NVM subsystem.
#[derive(Debug, Clone)]
pub struct Subsystem {
    /// Its name.
    pub nqn: SubNqn,
    /// Who it says it is.
    pub identity: Identity,
    /// Let every host in; `hosts` is then ignored.
    pub allow_any_host: bool,
    /// Hosts that may connect.
    pub hosts: Vec<HostNqn>,
    /// Hosts that have to authenticate themselves, each once; others need not.
    pub credentials: Vec<Arc<Credentials>>,
    /// In ascending order of their NSIDs, which are unique and 1 to [`limits::NSID_MAX`].
    pub namespaces: Vec<Namespace>,
    /// Ports it is reachable on.
    pub ports: Vec<PortId>,
    /// Smallest controller id to give out; nodes that share a subsystem have ranges of their own.
    pub cntlid_min: u16,
    /// Largest controller id to give out.
    pub cntlid_max: u16,
    /// Limits of each controller.
    pub limits: ControllerLimits,
}

impl Subsystem {
    /// The namespace of that id.
    pub fn namespace(&self, nsid: Nsid) -> Option<&Namespace> {
        let index = self.namespaces.binary_search_by_key(&nsid, |namespace| namespace.nsid);
        index.ok().map(|index| &self.namespaces[index])
    }

    /// What that host has to authenticate itself with.
    pub fn credentials(&self, host: &HostNqn) -> Option<&Arc<Credentials>> {
        self.credentials.iter().find(|credentials| credentials.host() == host)
    }

    /// Whether that host may connect.
    pub fn allows(&self, host: &HostNqn) -> bool {
        self.allow_any_host || self.hosts.contains(host)
    }
}

/// Limits of one controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerLimits {
    /// I/O queues granted at most; at least 1.
    pub io_queues_max: u16,
    /// Entries of a queue, 0's based as CAP says it; at least 1.
    pub mqes: u16,
    /// Data bytes of one command: a power of two, at least 4 KiB.
    pub mdts_bytes: u32,
    /// In-capsule data bytes of an I/O command: a multiple of 16; none on the admin queue.
    pub in_capsule_bytes: u32,
    /// Longest keep-alive timeout that a host may ask for, in milliseconds; 0 for no bound.
    pub keep_alive_ms_max: u32,
    /// Silence that ends a discovery controller without keep-alive, in milliseconds.
    pub discovery_idle_ms: u32,
}

impl Default for ControllerLimits {
    fn default() -> Self {
        Self {
            io_queues_max: 64,
            mqes: 127,
            mdts_bytes: 1 << 20,
            in_capsule_bytes: 4096,
            keep_alive_ms_max: 0,
            discovery_idle_ms: limits::DISCOVERY_IDLE_MS,
        }
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its id within the subsystem.
    pub nsid: Nsid,
    /// Universally unique identifier; the nil UUID is not reported.
    pub uuid: Uuid,
    /// Namespace globally unique identifier; all zero is not reported.
    pub nguid: [u8; 16],
    /// IEEE extended unique identifier.
    pub eui64: Option<[u8; 8]>,
    /// Logarithm of the block size: 9 or 12.
    pub lba_shift: u8,
    /// Blocks; `lba_count << lba_shift` fits in 64 bits.
    pub lba_count: u64,
    /// Where the blocks are.
    pub disk: DiskId,
    /// What the disk can do.
    pub features: NamespaceFeatures,
    /// Refuse every command that changes blocks.
    pub read_only: bool,
}

/// What the disk of a namespace can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamespaceFeatures {
    /// Deallocate does something.
    pub deallocate: bool,
    /// Deallocated blocks read as zeroes.
    pub deallocated_reads_zero: bool,
    /// Write Zeroes is supported.
    pub write_zeroes: bool,
    /// Writes may be lost with the power until they are flushed.
    pub volatile_cache: bool,
    /// Blocks that a write is best a multiple of; 0 when nothing is known.
    pub preferred_write_blocks: u16,
    /// Blocks that a deallocation is best a multiple of; 0 when nothing is known.
    pub preferred_deallocate_blocks: u16,
}

/// A port of the target: where hosts find subsystems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its id.
    pub id: PortId,
    /// How hosts talk to it.
    pub transport: TransportKind,
    /// Its address, `0.0.0.0` or `::` for every address of the machine.
    pub address: TransportAddress,
    /// Transport service id: the port number as text, at most 31 bytes.
    pub trsvcid: String,
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// NVMe over RDMA with the RDMA connection manager on connected queue pairs.
    Rdma,
}

/// A transport address and its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportAddress(pub core::net::IpAddr);
