//! What Identify shows (NVMe Base 2.0 §5.17, NVM Command Set 1.0 §4.1.5).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::admin::Identify;
use crate::export::{ControllerLimits, Identity, Namespace, Subsystem};
use crate::ident::{Cntlid, Nsid, SubNqn};
use crate::io;
use crate::limits;
use crate::property;
use crate::wire::Page;
use crate::wire::Status;
use crate::wire::identify::{
    IdentifyController, IdentifyIndependentNamespace, IdentifyNamespace, LbaFormat,
};
use crate::wire::refusal::{Refusal, field};

/// Identify data structures by their CNS.
pub mod cns {
    /// Identify Namespace of the NVM command set.
    pub const NAMESPACE: u8 = 0x00;
    /// Identify Controller.
    pub const CONTROLLER: u8 = 0x01;
    /// Active Namespace ID list.
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
    /// Namespace Identification Descriptor list.
    pub const NAMESPACE_DESCRIPTORS: u8 = 0x03;
    /// Identify Namespace of an I/O command set.
    pub const COMMAND_SET_NAMESPACE: u8 = 0x05;
    /// Identify Controller of an I/O command set.
    pub const COMMAND_SET_CONTROLLER: u8 = 0x06;
    /// Active Namespace ID list of an I/O command set.
    pub const COMMAND_SET_ACTIVE_NAMESPACES: u8 = 0x07;
    /// Identify Namespace independent of the I/O command set.
    pub const INDEPENDENT_NAMESPACE: u8 = 0x08;
    /// I/O Command Set combinations.
    pub const COMMAND_SETS: u8 = 0x1c;
}

/// A structure that a controller agreed to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// Identify Controller.
    Controller,
    /// Identify Namespace; zeroes when inactive.
    Namespace(Nsid),
    /// Active namespaces above an id, in ascending order.
    ActiveNamespaces {
        /// Ids above this one.
        after: Nsid,
    },
    /// Identification descriptors of an active namespace.
    Descriptors(Nsid),
    /// Identify Namespace for the NVM command set: nothing of it applies without protection.
    NvmNamespace,
    /// Identify Controller for the NVM command set: the limit of Verify beside MDTS.
    NvmController,
    /// Identify Namespace independent of the command set; zeroes when inactive.
    IndependentNamespace(Nsid),
    /// Combinations of I/O command sets: NVM alone.
    CommandSets,
}

/// Command Set Identifier of the NVM command set.
const CSI_NVM: u8 = 0;
/// Controller id field that means the controller itself.
const CNTID_SELF: u16 = 0xffff;

/// What an I/O controller returns for an Identify command.
pub(crate) fn structure(
    command: &Identify,
    subsystem: &Subsystem,
    cntlid: Cntlid,
) -> Result<Structure, Refusal> {
    let nsid = command.nsid;
    match command.cns {
        cns::CONTROLLER => Ok(Structure::Controller),
        cns::NAMESPACE => Ok(Structure::Namespace(valid(nsid)?)),
        cns::ACTIVE_NAMESPACES => Ok(Structure::ActiveNamespaces { after: listable(nsid)? }),
        cns::NAMESPACE_DESCRIPTORS => {
            subsystem.namespace(nsid).ok_or(Status::INVALID_NAMESPACE.dnr().at(field::NSID))?;
            Ok(Structure::Descriptors(nsid))
        }
        cns::COMMAND_SET_NAMESPACE => {
            nvm(command.csi)?;
            valid(nsid)?;
            Ok(Structure::NvmNamespace)
        }
        cns::COMMAND_SET_CONTROLLER => {
            nvm(command.csi)?;
            Ok(Structure::NvmController)
        }
        cns::COMMAND_SET_ACTIVE_NAMESPACES => {
            nvm(command.csi)?;
            Ok(Structure::ActiveNamespaces { after: listable(nsid)? })
        }
        cns::INDEPENDENT_NAMESPACE => Ok(Structure::IndependentNamespace(valid(nsid)?)),
        cns::COMMAND_SETS if command.cntid == CNTID_SELF || command.cntid == cntlid.0 => {
            Ok(Structure::CommandSets)
        }
        _ => Err(Status::INVALID_FIELD.dnr().at(field::CDW10)),
    }
}

/// An id that a namespace could have; FFFFFFFFh is for namespace management, which is absent.
fn valid(nsid: Nsid) -> Result<Nsid, Refusal> {
    if nsid.0 == 0 || nsid.0 > limits::NSID_MAX {
        return Err(Status::INVALID_NAMESPACE.dnr().at(field::NSID));
    }
    Ok(nsid)
}

/// An id that a list can start after.
fn listable(nsid: Nsid) -> Result<Nsid, Refusal> {
    if nsid.0 > limits::NSID_MAX {
        return Err(Status::INVALID_NAMESPACE.dnr().at(field::NSID));
    }
    Ok(nsid)
}

fn nvm(csi: u8) -> Result<(), Refusal> {
    if csi == CSI_NVM { Ok(()) } else { Err(Status::INVALID_FIELD.dnr().at(field::CDW11 + 3)) }
}

/// Writes a structure other than Identify Controller.
pub(crate) fn fill(structure: Structure, subsystem: &Subsystem, page: &mut Page<'_>) {
    match structure {
        Structure::Controller | Structure::NvmNamespace => {}
        Structure::NvmController => page.put(0, &[page_power(subsystem.limits.mdts_bytes)]),
        Structure::Namespace(nsid) => {
            if let Some(namespace) = subsystem.namespace(nsid) {
                let mdts = subsystem.limits.mdts_bytes;
                page.put(0, identify_namespace(namespace, mdts).as_bytes());
            }
        }
        Structure::ActiveNamespaces { after } => active(subsystem, after, page),
        Structure::Descriptors(nsid) => {
            if let Some(namespace) = subsystem.namespace(nsid) {
                descriptors(namespace, page);
            }
        }
        Structure::IndependentNamespace(nsid) => {
            if let Some(namespace) = subsystem.namespace(nsid) {
                page.put(0, independent(namespace).as_bytes());
            }
        }
        // Vector 0: bit 0 is the NVM command set.
        Structure::CommandSets => page.put(0, &1u64.to_le_bytes()),
    }
}

/// Shared by every controller of the subsystem.
const NMIC_SHARED: u8 = 1;
const NSATTR_WRITE_PROTECTED: u8 = 1;
const NSFEAT_OPTIMAL_IO: u8 = 1 << 4;
/// Deallocated blocks read as zeroes.
const DLFEAT_READS_ZERO: u8 = 1;
/// Write Zeroes may deallocate.
const DLFEAT_WRITE_ZEROES: u8 = 1 << 3;

fn nsattr(namespace: &Namespace) -> u8 {
    if namespace.read_only { NSATTR_WRITE_PROTECTED } else { 0 }
}

fn identify_namespace(namespace: &Namespace, mdts_bytes: u32) -> IdentifyNamespace {
    let features = namespace.features;
    let mut id = IdentifyNamespace::new_zeroed();
    id.nsze = U64::new(namespace.lba_count);
    id.ncap = id.nsze;
    id.nuse = id.nsze;
    id.nmic = NMIC_SHARED;
    if features.deallocate && features.deallocated_reads_zero {
        id.dlfeat = DLFEAT_READS_ZERO | DLFEAT_WRITE_ZEROES;
    }
    let hint = |blocks: u16| U16::new(blocks.saturating_sub(1));
    if features.preferred_write_blocks != 0 || features.preferred_deallocate_blocks != 0 {
        id.nsfeat = NSFEAT_OPTIMAL_IO;
        id.npwg = hint(features.preferred_write_blocks);
        id.npwa = id.npwg;
        id.nows = id.npwg;
        id.npdg = hint(features.preferred_deallocate_blocks);
        id.npda = id.npdg;
    }
    let copied = io::copy_blocks_max(namespace, mdts_bytes);
    id.mssrl = U16::new(u16::try_from(copied).unwrap_or(u16::MAX));
    id.mcl = U32::new(u32::try_from(copied).unwrap_or(u32::MAX));
    id.msrc = limits::COPY_RANGES_MAX - 1;
    id.nsattr = nsattr(namespace);
    id.nguid = namespace.nguid;
    id.eui64 = namespace.eui64.unwrap_or_default();
    id.lbaf0 = LbaFormat { ms: U16::ZERO, lbads: namespace.lba_shift, rp: 0 };
    id
}

fn independent(namespace: &Namespace) -> IdentifyIndependentNamespace {
    const NSTAT_READY: u8 = 1;
    let mut id = IdentifyIndependentNamespace::new_zeroed();
    id.nmic = NMIC_SHARED;
    id.nsattr = nsattr(namespace);
    id.nstat = NSTAT_READY;
    id
}

fn active(subsystem: &Subsystem, after: Nsid, page: &mut Page<'_>) {
    let first = subsystem.namespaces.partition_point(|namespace| namespace.nsid <= after);
    let listed = subsystem.namespaces[first..].iter().take(limits::NSID_LIST_ENTRIES);
    for (at, namespace) in (0..).step_by(4).zip(listed) {
        page.put(at, &namespace.nsid.0.to_le_bytes());
    }
}

const NIDT_EUI64: u8 = 1;
const NIDT_NGUID: u8 = 2;
const NIDT_UUID: u8 = 3;
const NIDT_CSI: u8 = 4;

/// Type, length, two reserved bytes and the identifier, for each that the namespace has.
fn descriptors(namespace: &Namespace, page: &mut Page<'_>) {
    let eui64 = namespace.eui64.filter(|id| *id != [0; 8]);
    let nguid = (namespace.nguid != [0; 16]).then_some(namespace.nguid);
    let uuid = (!namespace.uuid.is_nil()).then(|| *namespace.uuid.as_bytes());
    let mut at = 0;
    let mut put = |kind: u8, id: &[u8]| {
        let len = u8::try_from(id.len()).unwrap_or(0);
        page.put(at, &[kind, len, 0, 0]);
        page.put(at + 4, id);
        at += 4 + u64::from(len);
    };
    if let Some(id) = eui64 {
        put(NIDT_EUI64, &id);
    }
    if let Some(id) = nguid {
        put(NIDT_NGUID, &id);
    }
    if let Some(id) = uuid {
        put(NIDT_UUID, &id);
    }
    put(NIDT_CSI, &[CSI_NVM]);
}

/// What Identify Controller needs to know about one controller.
#[derive(Debug)]
pub(crate) struct ControllerFacts<'a> {
    pub(crate) cntlid: Cntlid,
    pub(crate) subnqn: &'a SubNqn,
    pub(crate) identity: &'a Identity,
    pub(crate) limits: &'a ControllerLimits,
    pub(crate) oaes: u32,
    /// `None` for a discovery controller.
    pub(crate) subsystem: Option<&'a Subsystem>,
}

const CTRATT_HOST_ID_128: u32 = 1;
const CTRATT_TRAFFIC_BASED_KEEP_ALIVE: u32 = 1 << 6;
const CMIC_PORTS: u8 = 1;
const CMIC_CONTROLLERS: u8 = 1 << 1;
const CNTRLTYPE_IO: u8 = 1;
const CNTRLTYPE_DISCOVERY: u8 = 2;
/// One firmware slot, read-only.
const FRMW: u8 = 1 | 1 << 1;
const LPA_EFFECTS: u8 = 1 << 1;
const LPA_EXTENDED: u8 = 1 << 2;
/// Supported Log Pages and Feature Identifiers Supported exist, effects carry scopes.
const LPA_SUPPORTED_PAGES: u8 = 1 << 5;
const ONCS_COMPARE: u16 = 1;
const ONCS_DSM: u16 = 1 << 2;
const ONCS_WRITE_ZEROES: u16 = 1 << 3;
/// Select of Get Features and Save of Set Features are looked at.
const ONCS_SELECT: u16 = 1 << 4;
const ONCS_VERIFY: u16 = 1 << 7;
const ONCS_COPY: u16 = 1 << 8;
const FUSES_COMPARE_AND_WRITE: u16 = 1;
const OCFS_FORMAT_0: u16 = 1;
/// The Disconnect command, for I/O queues.
const OFCS_DISCONNECT: u16 = 1;
const VWC_PRESENT: u8 = 1;
/// Flush takes FFFFFFFFh as every namespace.
const VWC_FLUSH_ALL: u8 = 3 << 1;
const SGLS_SUPPORTED: u32 = 1;
const SGLS_KEYED: u32 = 1 << 2;
const SGLS_OFFSET: u32 = 1 << 20;
/// Over- and critical temperature in kelvin; there is no sensor, but 0 is no legal value.
const WARNING_KELVIN: u16 = 0x157;

/// As a power of two pages of 4 KiB (MDTS, VSL).
fn page_power(bytes: u32) -> u8 {
    let pages = (bytes / limits::PAGE_BYTES).max(1);
    u8::try_from(pages.ilog2()).unwrap_or(0)
}

impl ControllerFacts<'_> {
    /// Identify Controller.
    pub(crate) fn fill(&self, page: &mut Page<'_>) {
        let mut id = IdentifyController::new_zeroed();
        id.sn = self.identity.serial;
        id.mn = self.identity.model;
        id.fr = self.identity.firmware;
        id.mdts = page_power(self.limits.mdts_bytes);
        id.cntlid = U16::new(self.cntlid.0);
        id.ver = U32::new(property::VERSION);
        id.oaes = U32::new(self.oaes);
        id.ctratt = U32::new(CTRATT_HOST_ID_128 | CTRATT_TRAFFIC_BASED_KEEP_ALIVE);
        id.aerl = u8::try_from(limits::ASYNC_EVENT_REQUESTS_MAX - 1).unwrap_or(0);
        id.kas = U16::new(limits::KEEP_ALIVE_GRANULARITY);
        id.maxcmd = U16::new(self.limits.mqes.saturating_add(1));
        id.subnqn = self.subnqn.emit();
        id.lpa = LPA_EXTENDED;
        // One keyed descriptor a command (MSDBD) and responses of one entry.
        id.sgls = U32::new(SGLS_SUPPORTED | SGLS_KEYED);
        id.msdbd = 1;
        id.iorcsz = U32::new(1);
        id.ioccsz = U32::new(4);
        match self.subsystem {
            Some(subsystem) => self.io(subsystem, &mut id),
            // DCTYPE stays unreported: hosts take one that says direct as one to register with.
            None => id.cntrltype = CNTRLTYPE_DISCOVERY,
        }
        page.put(0, id.as_bytes());
    }

    fn io(&self, subsystem: &Subsystem, id: &mut IdentifyController) {
        let any = |has: fn(&Namespace) -> bool| subsystem.namespaces.iter().any(has);
        id.cntrltype = CNTRLTYPE_IO;
        id.cmic = CMIC_PORTS | CMIC_CONTROLLERS;
        id.acl = limits::ABORT_LIMIT;
        id.elpe = u8::try_from(limits::ERROR_LOG_ENTRIES - 1).unwrap_or(0);
        id.ofcs = U16::new(OFCS_DISCONNECT);
        id.frmw = FRMW;
        id.lpa |= LPA_EFFECTS | LPA_SUPPORTED_PAGES;
        id.wctemp = U16::new(WARNING_KELVIN);
        id.cctemp = id.wctemp;
        id.sqes = 0x66;
        id.cqes = 0x44;
        let last = subsystem.namespaces.last().map_or(0, |namespace| namespace.nsid.0);
        let count = u32::try_from(subsystem.namespaces.len()).unwrap_or(u32::MAX);
        // 0 < MNAN <= NN: the number of namespaces never exceeds the largest id.
        id.nn = U32::new(last.max(limits::NAMESPACES_MIN));
        id.mnan = U32::new(count.max(limits::NAMESPACES_MIN));
        let mut oncs = ONCS_SELECT | ONCS_COMPARE | ONCS_VERIFY | ONCS_COPY;
        if any(|namespace| namespace.features.deallocate) {
            oncs |= ONCS_DSM;
        }
        if any(|namespace| namespace.features.write_zeroes) {
            oncs |= ONCS_WRITE_ZEROES;
        }
        id.oncs = U16::new(oncs);
        id.fuses = U16::new(FUSES_COMPARE_AND_WRITE);
        id.acwu = U16::new(limits::COMPARE_AND_WRITE_BLOCKS_MAX - 1);
        id.ocfs = U16::new(OCFS_FORMAT_0);
        id.vwc = VWC_FLUSH_ALL;
        if any(|namespace| namespace.features.volatile_cache) {
            id.vwc |= VWC_PRESENT;
        }
        if self.limits.in_capsule_bytes > 0 {
            id.sgls |= U32::new(SGLS_OFFSET);
            id.ioccsz = U32::new(4 + self.limits.in_capsule_bytes / 16);
        }
    }
}
