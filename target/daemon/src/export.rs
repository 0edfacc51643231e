//! From a valid configuration to what is exported: disks opened, the protocol's model built.

use std::sync::Arc;

use anyhow::anyhow;
use block::{Direct, Disk, DiskKind, DiskSpec};
use nvme::auth::{Credentials, Group, Hash, Policy};
use nvme::{
    ControllerLimits, Discovery, DiskId, Export, HostNqn, Identity, Namespace, NamespaceFeatures,
    Nsid, Port, PortId, SubNqn, Subsystem, TransportAddress, TransportKind,
};
use sluice_config::Place;
use sluice_config::schema as config;
use sluice_config::size::SizeBytes;

use crate::keys::{self, HostKeys, KeyFileError};
use crate::limits::DISCOVERY_TRANSFER_BYTES;

/// What is exported, with its disks in the order of their ids.
pub struct Exported {
    /// The protocol's model.
    pub export: Export,
    /// The disks.
    pub disks: Vec<Arc<Disk>>,
}

/// Firmware revision: this version of Sluice, at most 8 characters.
const FIRMWARE: &str = env!("CARGO_PKG_VERSION");

/// Opens every disk and builds the model. May block: disks are probed.
///
/// # Errors
/// The first disk that can't be opened: what, where, how to mend it.
pub fn build(config: &config::Config) -> anyhow::Result<Exported> {
    let limits = controller_limits(&config.limits);
    let mut keys = Vec::new();
    for host in &config.hosts {
        let wrong = |wrong: Box<_>| {
            let (at, error): (Place, KeyFileError) = *wrong;
            anyhow!("{}: {error}", at.short())
        };
        keys.push(keys::of_host(host).map_err(wrong)?);
    }
    let mut disks = Vec::new();
    let mut subsystems = Vec::new();
    for subsystem in &config.subsystems {
        let mut built = build_subsystem(config, subsystem, limits, &mut disks)?;
        built.credentials = credentials(config, &keys, &built)?;
        subsystems.push(Arc::new(built));
    }
    let ports = config.listeners.iter().enumerate().map(|(i, listener)| {
        Arc::new(Port {
            id: port_id(i),
            transport: match listener.transport {
                config::Transport::Rdma => TransportKind::Rdma,
            },
            address: TransportAddress(listener.address.value),
            trsvcid: listener.port.to_string(),
        })
    });
    let discovery = Discovery {
        genctr: genctr(),
        identity: Identity::new("discovery", "Sluice discovery", FIRMWARE),
        limits: ControllerLimits {
            mdts_bytes: limits.mdts_bytes.min(DISCOVERY_TRANSFER_BYTES),
            ..limits
        },
    };
    Ok(Exported { export: Export { subsystems, ports: ports.collect(), discovery }, disks })
}

/// The id of the listener with that index: ports count from 1.
pub(crate) fn port_id(index: usize) -> PortId {
    PortId(u16::try_from(index + 1).unwrap_or(u16::MAX))
}

/// Grows with every start, so that a host that reads the log page in parts notices a restart.
fn genctr() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

fn controller_limits(limits: &config::Limits) -> ControllerLimits {
    let ms = |span: std::time::Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    ControllerLimits {
        io_queues_max: limits.io_queues,
        mqes: limits.queue_depth.saturating_sub(1),
        mdts_bytes: limits.transfer_bytes,
        in_capsule_bytes: limits.in_capsule_bytes,
        keep_alive_ms_max: ms(limits.keep_alive_max),
        discovery_idle_ms: ms(limits.discovery_idle),
    }
}

fn build_subsystem(
    config: &config::Config,
    subsystem: &config::Subsystem,
    limits: ControllerLimits,
    disks: &mut Vec<Arc<Disk>>,
) -> anyhow::Result<Subsystem> {
    let nqn = subsystem.nqn.value.as_str();
    let (allow_any_host, hosts) = match &subsystem.hosts {
        config::AllowedHosts::Any => (true, Vec::new()),
        config::AllowedHosts::Only(hosts) => {
            (false, hosts.iter().map(|h| HostNqn::new(h.as_str())).collect::<Result<_, _>>()?)
        }
    };
    let mut namespaces = Vec::new();
    for namespace in &subsystem.namespaces {
        namespaces.push(build_namespace(nqn, namespace, disks)?);
    }
    let reachable = config.listeners.iter().enumerate();
    let reachable = reachable.filter(|(_, l)| subsystem.listeners.contains(&l.name));
    Ok(Subsystem {
        nqn: SubNqn::new(nqn)?,
        identity: Identity::new(subsystem.serial.as_str(), subsystem.model.as_str(), FIRMWARE),
        allow_any_host,
        hosts,
        credentials: Vec::new(),
        namespaces,
        ports: reachable.map(|(i, _)| port_id(i)).collect(),
        cntlid_min: 1,
        cntlid_max: 0xFFEF,
        limits,
    })
}

/// What the hosts that this subsystem lets in have to authenticate themselves with.
fn credentials(
    config: &config::Config,
    keys: &[HostKeys],
    subsystem: &Subsystem,
) -> anyhow::Result<Vec<Arc<Credentials>>> {
    let mut out = Vec::new();
    for (host, keys) in config.hosts.iter().zip(keys) {
        let name = HostNqn::new(host.nqn.value.as_str())?;
        if !subsystem.allows(&name) {
            continue;
        }
        let policy = Policy {
            hashes: host.hashes.iter().map(|hash| chap_hash(*hash)).collect(),
            groups: host.groups.iter().map(|group| chap_group(*group)).collect(),
        };
        let controller = keys.controller.as_ref();
        let nqn = subsystem.nqn.clone();
        out.push(Arc::new(Credentials::new(name, nqn, &keys.host, controller, policy)));
    }
    Ok(out)
}

fn chap_hash(hash: config::ChapHash) -> Hash {
    match hash {
        config::ChapHash::Sha256 => Hash::Sha256,
        config::ChapHash::Sha384 => Hash::Sha384,
        config::ChapHash::Sha512 => Hash::Sha512,
    }
}

fn chap_group(group: config::ChapGroup) -> Group {
    match group {
        config::ChapGroup::Null => Group::Null,
        config::ChapGroup::Ffdhe2048 => Group::Ffdhe2048,
        config::ChapGroup::Ffdhe3072 => Group::Ffdhe3072,
        config::ChapGroup::Ffdhe4096 => Group::Ffdhe4096,
        config::ChapGroup::Ffdhe6144 => Group::Ffdhe6144,
        config::ChapGroup::Ffdhe8192 => Group::Ffdhe8192,
    }
}

fn build_namespace(
    nqn: &str,
    namespace: &config::Namespace,
    disks: &mut Vec<Arc<Disk>>,
) -> anyhow::Result<Namespace> {
    let disk = Disk::open(&spec(namespace))?;
    let nsid = namespace.nsid.get();
    for note in disk.notes() {
        tracing::warn!(subsystem = nqn, nsid, "{note}");
    }
    tracing::info!(subsystem = nqn, nsid, "{}", disk.describe());
    let geometry = *disk.geometry();
    let id = DiskId(u32::try_from(disks.len())?);
    disks.push(Arc::new(disk));
    let features = geometry.features;
    Ok(Namespace {
        nsid: Nsid(nsid),
        uuid: namespace.uuid,
        nguid: namespace.nguid.unwrap_or([0; 16]),
        eui64: namespace.eui64,
        lba_shift: u8::try_from(geometry.block_size.ilog2())?,
        lba_count: geometry.block_count,
        disk: id,
        features: NamespaceFeatures {
            deallocate: features.discard,
            deallocated_reads_zero: features.discard_zeroes,
            write_zeroes: features.write_zeroes,
            volatile_cache: features.volatile_cache,
            preferred_write_blocks: u16::try_from(
                geometry.physical_block_size / geometry.block_size,
            )
            .unwrap_or(0),
            preferred_deallocate_blocks: 0,
        },
        read_only: features.read_only,
    })
}

fn spec(namespace: &config::Namespace) -> DiskSpec {
    let kind = match &namespace.backend {
        config::Backend::File { path, create } => DiskKind::File {
            path: path.value.clone(),
            create_size_bytes: create.map(SizeBytes::bytes),
        },
        config::Backend::Device { path } => DiskKind::Device { path: path.value.clone() },
        config::Backend::Ram { size } => DiskKind::Ram { size_bytes: size.bytes() },
        config::Backend::Null { size } => DiskKind::Null { size_bytes: size.bytes() },
    };
    DiskSpec {
        kind,
        direct: match namespace.direct {
            config::DirectIo::Auto => Direct::Auto,
            config::DirectIo::On => Direct::On,
            config::DirectIo::Off => Direct::Off,
        },
        block_size: namespace.block_size.map(config::BlockSize::bytes),
        read_only: namespace.read_only,
    }
}
