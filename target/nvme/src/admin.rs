//! Admin and Fabrics commands as a controller gets them: parsed, not yet judged.

use crate::data;
use crate::ident::{Cid, Nsid, Qid};
use crate::limits;
use crate::wire::refusal::{Refusal, field};
use crate::wire::{HostSgl, Sqe, Status};

/// Opcodes of admin commands that we know (NVMe Base 2.0 §5).
pub mod opcode {
    /// Get Log Page.
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Identify.
    pub const IDENTIFY: u8 = 0x06;
    /// Abort.
    pub const ABORT: u8 = 0x08;
    /// Set Features.
    pub const SET_FEATURES: u8 = 0x09;
    /// Get Features.
    pub const GET_FEATURES: u8 = 0x0a;
    /// Asynchronous Event Request.
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0c;
    /// Keep Alive.
    pub const KEEP_ALIVE: u8 = 0x18;
}

/// Types of Fabrics commands that we know (NVMe-oF 1.1 §3).
pub mod fctype {
    /// Property Set.
    pub const PROPERTY_SET: u8 = 0x00;
    /// Connect.
    pub const CONNECT: u8 = 0x01;
    /// Property Get.
    pub const PROPERTY_GET: u8 = 0x04;
    /// Authentication Send.
    pub const AUTHENTICATION_SEND: u8 = 0x05;
    /// Authentication Receive.
    pub const AUTHENTICATION_RECEIVE: u8 = 0x06;
    /// Disconnect.
    pub const DISCONNECT: u8 = 0x08;
}

/// A command for the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminCommand {
    /// Fabrics Property Get.
    PropertyGet {
        /// Offset of the property.
        offset: u32,
        /// Bytes of the property: 4 or 8.
        size: PropertySize,
    },
    /// Fabrics Property Set.
    PropertySet {
        /// Offset of the property.
        offset: u32,
        /// Bytes of the property: 4 or 8.
        size: PropertySize,
        /// What to set it to.
        value: u64,
    },
    /// Identify.
    Identify(Identify),
    /// Get Log Page.
    GetLogPage(GetLogPage),
    /// Get Features.
    GetFeatures(GetFeatures),
    /// Set Features.
    SetFeatures(SetFeatures),
    /// Abort.
    Abort {
        /// Queue of the command to abort.
        sqid: Qid,
        /// Command to abort.
        cid: Cid,
    },
    /// Asynchronous Event Request.
    AsyncEventRequest,
    /// Keep Alive.
    KeepAlive,
    /// A command that can't be understood, to be answered with this unless the controller is not
    /// ready for any.
    Refused(Refusal),
}

/// Bytes of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PropertySize {
    /// 4 bytes.
    Four,
    /// 8 bytes.
    Eight,
}

/// An Identify command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identify {
    /// Structure.
    pub cns: u8,
    /// Controller id, for structures that want one.
    pub cntid: u16,
    /// I/O command set.
    pub csi: u8,
    /// Namespace id.
    pub nsid: Nsid,
    /// Where to; 4096 bytes.
    pub to: HostSgl,
}

/// A Get Log Page command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetLogPage {
    /// Log page.
    pub lid: u8,
    /// Namespace id.
    pub nsid: Nsid,
    /// Retain Asynchronous Event: reading does not clear it.
    pub rae: bool,
    /// First byte wanted.
    pub offset: u64,
    /// The offset counts entries and not bytes.
    pub index_offset: bool,
    /// I/O command set.
    pub csi: u8,
    /// Bytes wanted; a multiple of 4.
    pub len: u32,
    /// Where to; `len` bytes.
    pub to: HostSgl,
}

/// A Get Features command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetFeatures {
    /// Feature.
    pub fid: u8,
    /// Which of its values.
    pub select: Select,
    /// Feature-specific.
    pub cdw11: u32,
    /// Where to, for a feature with data.
    pub to: Option<HostSgl>,
}

/// Which value of a feature is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Select {
    /// That in force.
    Current,
    /// That after a reset.
    Default,
    /// That which was saved.
    Saved,
    /// What can be done with the feature.
    SupportedCapabilities,
}

/// A Set Features command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetFeatures {
    /// Feature.
    pub fid: u8,
    /// Keep it over resets.
    pub save: bool,
    /// Namespace id.
    pub nsid: Nsid,
    /// The value.
    pub cdw11: u32,
}

impl AdminCommand {
    /// Reads a command that came on a connected admin queue.
    pub fn parse(sqe: &Sqe) -> Self {
        let parsed = match sqe.opcode {
            Sqe::FABRICS => fabrics(sqe),
            _ => sqe.check_flags().and_then(|()| admin(sqe)),
        };
        parsed.unwrap_or_else(Self::Refused)
    }
}

/// Authentication is the queue's, Connect comes once, and Disconnect is for I/O queues (NVMe-oF 1.1
/// §3.3, §3.4).
fn fabrics(sqe: &Sqe) -> Result<AdminCommand, Refusal> {
    let size = match sqe.cdw10.get() & 7 {
        0 => Ok(PropertySize::Four),
        1 => Ok(PropertySize::Eight),
        _ => Err(Status::INVALID_FIELD.dnr().at(field::CDW10)),
    };
    let offset = sqe.cdw11.get();
    match sqe.fctype() {
        fctype::PROPERTY_GET => Ok(AdminCommand::PropertyGet { offset, size: size? }),
        fctype::PROPERTY_SET => Ok(AdminCommand::PropertySet {
            offset,
            size: size?,
            value: u64::from(sqe.cdw13.get()) << 32 | u64::from(sqe.cdw12.get()),
        }),
        fctype::CONNECT => Err(Status::COMMAND_SEQUENCE_ERROR.dnr().at(field::NSID)),
        fctype::DISCONNECT => Err(Status::INVALID_QUEUE_TYPE.dnr().into()),
        _ => Err(Status::INVALID_OPCODE.dnr().at(field::NSID)),
    }
}

fn admin(sqe: &Sqe) -> Result<AdminCommand, Refusal> {
    match sqe.opcode {
        opcode::IDENTIFY => identify(sqe).map(AdminCommand::Identify),
        opcode::GET_LOG_PAGE => get_log_page(sqe).map(AdminCommand::GetLogPage),
        opcode::GET_FEATURES => get_features(sqe).map(AdminCommand::GetFeatures),
        opcode::SET_FEATURES => Ok(AdminCommand::SetFeatures(set_features(sqe))),
        opcode::ABORT => {
            let [sqid_low, sqid_high, cid_low, cid_high] = sqe.cdw10.get().to_le_bytes();
            Ok(AdminCommand::Abort {
                sqid: Qid(u16::from_le_bytes([sqid_low, sqid_high])),
                cid: Cid(u16::from_le_bytes([cid_low, cid_high])),
            })
        }
        opcode::ASYNC_EVENT_REQUEST => Ok(AdminCommand::AsyncEventRequest),
        opcode::KEEP_ALIVE => Ok(AdminCommand::KeepAlive),
        _ => Err(Status::INVALID_OPCODE.dnr().at(field::OPCODE)),
    }
}

fn identify(sqe: &Sqe) -> Result<Identify, Refusal> {
    let [cns, _, cntid_low, cntid_high] = sqe.cdw10.get().to_le_bytes();
    let [_, _, _, csi] = sqe.cdw11.get().to_le_bytes();
    Ok(Identify {
        cns,
        cntid: u16::from_le_bytes([cntid_low, cntid_high]),
        csi,
        nsid: sqe.nsid(),
        to: data::to_host(sqe, u64::from(limits::IDENTIFY_BYTES))?,
    })
}

const LOG_RAE: u32 = 1 << 15;
const LOG_INDEX_OFFSET: u32 = 1 << 23;

fn get_log_page(sqe: &Sqe) -> Result<GetLogPage, Refusal> {
    let cdw10 = sqe.cdw10.get();
    let [lid, _, numdl_low, numdl_high] = cdw10.to_le_bytes();
    let [numdu_low, numdu_high, _, _] = sqe.cdw11.get().to_le_bytes();
    let [_, _, _, csi] = sqe.cdw14.get().to_le_bytes();
    let numd = u32::from_le_bytes([numdl_low, numdl_high, numdu_low, numdu_high]);
    let len = (u64::from(numd) + 1) * 4;
    // What is too long for a keyed SGL is too long for every MDTS.
    let len_u32 =
        u32::try_from(len).map_err(|_| Status::INVALID_FIELD.dnr().at(field::CDW10 + 2))?;
    Ok(GetLogPage {
        lid,
        nsid: sqe.nsid(),
        rae: cdw10 & LOG_RAE != 0,
        offset: u64::from(sqe.cdw13.get()) << 32 | u64::from(sqe.cdw12.get()),
        index_offset: sqe.cdw14.get() & LOG_INDEX_OFFSET != 0,
        csi,
        len: len_u32,
        to: data::to_host(sqe, len)?,
    })
}

fn get_features(sqe: &Sqe) -> Result<GetFeatures, Refusal> {
    let [fid, select, _, _] = sqe.cdw10.get().to_le_bytes();
    let select = match select & 7 {
        0 => Select::Current,
        1 => Select::Default,
        2 => Select::Saved,
        3 => Select::SupportedCapabilities,
        _ => return Err(Status::INVALID_FIELD.dnr().at(field::CDW10 + 1)),
    };
    let data = crate::features::data_bytes(fid, select);
    Ok(GetFeatures {
        fid,
        select,
        cdw11: sqe.cdw11.get(),
        to: data.map(|len| data::to_host(sqe, u64::from(len))).transpose()?,
    })
}

const SET_FEATURES_SAVE: u32 = 1 << 31;

fn set_features(sqe: &Sqe) -> SetFeatures {
    let cdw10 = sqe.cdw10.get();
    let [fid, _, _, _] = cdw10.to_le_bytes();
    SetFeatures {
        fid,
        save: cdw10 & SET_FEATURES_SAVE != 0,
        nsid: sqe.nsid(),
        cdw11: sqe.cdw11.get(),
    }
}
