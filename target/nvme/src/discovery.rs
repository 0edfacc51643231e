//! The discovery log: what a host may reach through the port that it asked on (NVMe-oF 1.1 §5).

use core::net::IpAddr;
use std::sync::Arc;

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::export::{Export, Port, Subsystem, TransportAddress, TransportKind};
use crate::ident::{HostNqn, PortId, SubNqn};
use crate::limits;
use crate::wire::Page;
use crate::wire::discovery::{DiscoveryEntry, DiscoveryHeader};

/// How a host came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The port it came in by.
    pub port: PortId,
    /// The address of ours that it used: shown in place of a wildcard.
    pub address: Option<TransportAddress>,
}

const SUBTYPE_NVM: u8 = 2;
const SUBTYPE_CURRENT: u8 = 3;
const TRTYPE_RDMA: u8 = 1;
const ADRFAM_IPV4: u8 = 1;
const ADRFAM_IPV6: u8 = 2;
/// A secure channel is not specified, and SQ flow control may be disabled. (nvme-cli 2.3 knows no
/// name for "not required" together with the latter.)
const TREQ: u8 = 1 << 2;
const CNTLID_DYNAMIC: u16 = 0xffff;
/// Explicit persistent connections are supported.
const EFLAGS_EPCSD: u16 = 1 << 1;
const RDMA_QPTYPE_CONNECTED: u8 = 1;
const RDMA_PRTYPE_UNSPECIFIED: u8 = 1;
const RDMA_CMS_RDMA_CM: u8 = 1;

/// Subsystems that the host sees on its port.
fn visible<'a>(
    export: &'a Export,
    arrival: Arrival,
    host: &'a HostNqn,
) -> impl Iterator<Item = &'a Arc<Subsystem>> {
    export
        .subsystems
        .iter()
        .filter(move |subsystem| subsystem.ports.contains(&arrival.port) && subsystem.allows(host))
}

/// Number of entries: that of the discovery subsystem itself is one.
fn numrec(export: &Export, arrival: Arrival, host: &HostNqn) -> u64 {
    let own = u64::from(export.port(arrival.port).is_some());
    own * (1 + visible(export, arrival, host).count() as u64)
}

/// Bytes of the log.
pub(crate) fn log_bytes(export: &Export, arrival: Arrival, host: &HostNqn) -> u64 {
    limits::DISCOVERY_ENTRY_BYTES * (1 + numrec(export, arrival, host))
}

/// Writes the part of the log that is asked for.
pub(crate) fn fill(export: &Export, arrival: Arrival, host: &HostNqn, page: &mut Page<'_>) {
    let mut header = DiscoveryHeader::new_zeroed();
    header.genctr = U64::new(export.discovery.genctr);
    header.numrec = U64::new(numrec(export, arrival, host));
    page.put(0, header.as_bytes());
    let Some(port) = export.port(arrival.port) else {
        return;
    };
    let discovery = SubNqn::discovery();
    let current = core::iter::once((&discovery, SUBTYPE_CURRENT));
    let nvm = visible(export, arrival, host).map(|subsystem| (&subsystem.nqn, SUBTYPE_NVM));
    for (index, (nqn, subtype)) in (1..).zip(current.chain(nvm)) {
        let at = limits::DISCOVERY_ENTRY_BYTES * index;
        if page.shows(at, limits::DISCOVERY_ENTRY_BYTES) {
            page.put(at, entry(port, arrival, nqn, subtype).as_bytes());
        }
    }
}

fn entry(port: &Port, arrival: Arrival, nqn: &SubNqn, subtype: u8) -> DiscoveryEntry {
    let address = match arrival.address {
        Some(address) if port.address.0.is_unspecified() => address.0,
        Some(_) | None => port.address.0,
    };
    let mut entry = DiscoveryEntry::new_zeroed();
    entry.adrfam = match address {
        IpAddr::V4(_) => ADRFAM_IPV4,
        IpAddr::V6(_) => ADRFAM_IPV6,
    };
    entry.subtype = subtype;
    entry.treq = TREQ;
    entry.portid = U16::new(port.id.0);
    entry.cntlid = U16::new(CNTLID_DYNAMIC);
    entry.asqsz = U16::new(limits::ADMIN_QUEUE_ENTRIES_MAX);
    if subtype == SUBTYPE_CURRENT {
        entry.eflags = U16::new(EFLAGS_EPCSD);
    }
    put_text(&mut entry.trsvcid, &port.trsvcid);
    put_text(&mut entry.traddr, &address.to_string());
    entry.subnqn = nqn.emit();
    match port.transport {
        TransportKind::Rdma => {
            entry.trtype = TRTYPE_RDMA;
            entry.rdma_qptype = RDMA_QPTYPE_CONNECTED;
            entry.rdma_prtype = RDMA_PRTYPE_UNSPECIFIED;
            entry.rdma_cms = RDMA_CMS_RDMA_CM;
        }
    }
    entry
}

/// Text and zeroes; at least one zero stays.
fn put_text(field: &mut [u8], text: &str) {
    let len = text.len().min(field.len().saturating_sub(1));
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
}
