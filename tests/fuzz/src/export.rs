//! What the targets export: small, with every kind of namespace.

use std::sync::Arc;

use nvme::auth::{Credentials, Group, Hash, Key, Policy};
use nvme::{
    ControllerLimits, Discovery, DiskId, Export, HostNqn, Identity, Namespace, NamespaceFeatures,
    Nsid, Port, PortId, SubNqn, Subsystem, TransportAddress, TransportKind,
};
use uuid::Uuid;

use crate::limits;

/// The subsystem.
pub(crate) const SUBNQN: &str = "nqn.2026-01.org.example:disks";
/// The host that may connect.
pub(crate) const HOSTNQN: &str = "nqn.2026-01.org.example:host";
/// Its identifier.
pub(crate) const HOST_ID: [u8; 16] = [7; 16];
/// In-capsule data bytes of an I/O queue.
pub(crate) const IN_CAPSULE_BYTES: u32 = 4096;
/// The port that hosts arrive at.
pub(crate) const PORT: PortId = PortId(1);

fn namespace(nsid: u32, lba_shift: u8, lba_count: u64) -> Namespace {
    Namespace {
        nsid: Nsid(nsid),
        uuid: Uuid::from_u128(u128::from(nsid)),
        nguid: [0; 16],
        eui64: None,
        lba_shift,
        lba_count,
        disk: DiskId(nsid * 10),
        features: NamespaceFeatures {
            deallocate: true,
            deallocated_reads_zero: true,
            write_zeroes: true,
            volatile_cache: true,
            ..NamespaceFeatures::default()
        },
        read_only: false,
    }
}

/// A subsystem whose first namespace has so many blocks.
pub(crate) fn subsystem(lba_count: u64) -> Subsystem {
    let largest = u64::MAX >> 12;
    Subsystem {
        nqn: SubNqn::new(SUBNQN).expect("the constant is a name"),
        identity: Identity::new("SER1", "Sluice", "0.1"),
        allow_any_host: false,
        hosts: vec![HostNqn::new(HOSTNQN).expect("the constant is a name")],
        credentials: Vec::new(),
        namespaces: vec![
            namespace(1, 9, lba_count),
            namespace(2, 12, largest),
            Namespace { read_only: true, ..namespace(3, 9, 1000) },
            Namespace { features: NamespaceFeatures::default(), ..namespace(5, 12, 1) },
        ],
        ports: vec![PORT],
        cntlid_min: 1,
        cntlid_max: 0xffef,
        limits: ControllerLimits {
            io_queues_max: 4,
            mdts_bytes: limits::MDTS_BYTES,
            ..ControllerLimits::default()
        },
    }
}

/// What the host would have to authenticate itself with.
pub(crate) fn credentials() -> Credentials {
    let host = HostNqn::new(HOSTNQN).expect("the constant is a name");
    let subsystem = SubNqn::new(SUBNQN).expect("the constant is a name");
    let key = |byte: u8| {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(byte);
            true
        };
        Key::generate(None, fill).expect("bytes can be filled")
    };
    let policy = Policy {
        hashes: vec![Hash::Sha512, Hash::Sha384, Hash::Sha256],
        groups: vec![Group::Ffdhe2048, Group::Null],
    };
    Credentials::new(host, subsystem, &key(0x5e), Some(&key(0x7c)), policy)
}

/// The whole, in a generation.
pub(crate) fn export(generation: u64) -> Arc<Export> {
    Arc::new(Export {
        subsystems: vec![Arc::new(subsystem(2048 + generation))],
        ports: vec![Arc::new(Port {
            id: PORT,
            transport: TransportKind::Rdma,
            address: TransportAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
            trsvcid: "4420".to_owned(),
        })],
        discovery: Discovery {
            genctr: generation,
            identity: Identity::new("SER1", "Sluice", "0.1"),
            limits: ControllerLimits {
                mdts_bytes: limits::MDTS_BYTES,
                ..ControllerLimits::default()
            },
        },
    })
}
