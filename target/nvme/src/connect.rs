//! The Connect command: what it says and how it is refused (NVMe-oF 1.1 §3.3).

use std::sync::Arc;

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::activity::IoActivity;
use crate::auth::Credentials;
use crate::error_log::ErrorLog;
use crate::export::Subsystem;
use crate::ident::{Cntlid, HostNqn, Qid, SubNqn};
use crate::limits;
use crate::permit::Outcome;
use crate::rdma::TransportClaim;
use crate::wire::{Sqe, Status};

/// The data of a Connect command as it came.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ConnectData {
    /// Host identifier.
    pub host_id: [u8; 16],
    /// Controller: FFFFh for any, on an admin queue of the dynamic model.
    pub cntlid: U16,
    /// Reserved.
    pub reserved18: [u8; 238],
    /// NQN of the subsystem.
    pub subnqn: [u8; limits::NQN_FIELD_BYTES],
    /// NQN of the host.
    pub hostnqn: [u8; limits::NQN_FIELD_BYTES],
    /// Reserved.
    pub reserved768: [u8; 256],
}

const _: () = assert!(size_of::<ConnectData>() == limits::CONNECT_DATA_BYTES as usize);

/// Controller id that stands for any controller of the dynamic model.
pub const CNTLID_DYNAMIC: u16 = 0xffff;

/// The fields of a Connect command's SQE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectFields {
    pub(crate) recfmt: u16,
    pub(crate) qid: Qid,
    pub(crate) sqsize: u16,
    pub(crate) flow_control_disabled: bool,
    pub(crate) kato_ms: u32,
}

const CATTR_DISABLE_SQ_FLOW_CONTROL: u32 = 1 << 2;

impl ConnectFields {
    pub(crate) fn parse(sqe: &Sqe) -> Self {
        let [recfmt_low, recfmt_high, qid_low, qid_high] = sqe.cdw10.get().to_le_bytes();
        let [size_low, size_high, cattr, _] = sqe.cdw11.get().to_le_bytes();
        Self {
            recfmt: u16::from_le_bytes([recfmt_low, recfmt_high]),
            qid: Qid(u16::from_le_bytes([qid_low, qid_high])),
            sqsize: u16::from_le_bytes([size_low, size_high]),
            flow_control_disabled: u32::from(cattr) & CATTR_DISABLE_SQ_FLOW_CONTROL != 0,
            kato_ms: sqe.cdw12.get(),
        }
    }

    /// What the command says that can be judged without its data.
    pub(crate) fn check(&self, claim: TransportClaim) -> Result<(), ConnectError> {
        if self.recfmt != 0 {
            return Err(ConnectError::incompatible_format());
        }
        if self.qid != claim.qid {
            return Err(ConnectError::sqe(ConnectError::QID));
        }
        if self.sqsize == 0 || self.sqsize >= claim.entries {
            return Err(ConnectError::sqe(ConnectError::SQSIZE));
        }
        Ok(())
    }
}

/// A Connect command of the right shape. Whether it is granted is for the controller to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Queue to connect; that of the transport's claim.
    pub qid: Qid,
    /// Entries of the queue, 0's based; at least 1 and within the transport's claim.
    pub sqsize: u16,
    /// The host wants no SQ flow control.
    pub flow_control_disabled: bool,
    /// Keep-alive timeout in milliseconds; 0 for none. Only for the admin queue.
    pub kato_ms: u32,
    /// Host identifier.
    pub host_id: [u8; 16],
    /// Controller as the host said it: FFFFh on an admin queue, or that of an I/O queue.
    pub cntlid: u16,
    /// Subsystem.
    pub subnqn: SubNqn,
    /// Host.
    pub hostnqn: HostNqn,
}

impl ConnectRequest {
    /// Joins the fields with the data.
    pub(crate) fn parse(fields: &ConnectFields, data: &[u8]) -> Result<Self, ConnectError> {
        let (data, _) = ConnectData::ref_from_prefix(data)
            .map_err(|_| ConnectError::from(Status::DATA_SGL_LENGTH_INVALID.dnr()))?;
        let cntlid = data.cntlid.get();
        if fields.qid == Qid::ADMIN && cntlid != CNTLID_DYNAMIC {
            return Err(ConnectError::data(ConnectError::CNTLID));
        }
        Ok(Self {
            qid: fields.qid,
            sqsize: fields.sqsize,
            flow_control_disabled: fields.flow_control_disabled,
            kato_ms: fields.kato_ms,
            host_id: data.host_id,
            cntlid,
            subnqn: SubNqn::parse(&data.subnqn)
                .map_err(|_| ConnectError::data(ConnectError::SUBNQN))?,
            hostnqn: HostNqn::parse(&data.hostnqn)
                .map_err(|_| ConnectError::data(ConnectError::HOSTNQN))?,
        })
    }
}

/// How a Connect command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connect refused with {status:?}, DW0 {dw0:#010x}")]
pub struct ConnectError {
    /// The status.
    pub status: Status,
    /// Dword 0 of the completion: for Invalid Parameters the offset of what is wrong (IPO) and, in
    /// bit 16 (IATTR), whether it is in the data.
    pub dw0: u32,
}

impl ConnectError {
    const QID: u32 = 42;
    const SQSIZE: u32 = 44;
    const CNTLID: u32 = 16;
    const SUBNQN: u32 = 256;
    const HOSTNQN: u32 = 512;
    const IATTR_DATA: u32 = 1 << 16;

    const fn sqe(ipo: u32) -> Self {
        Self { status: Status::CONNECT_INVALID_PARAMETERS.dnr(), dw0: ipo }
    }

    const fn data(ipo: u32) -> Self {
        Self::sqe(ipo | Self::IATTR_DATA)
    }

    const fn incompatible_format() -> Self {
        Self { status: Status::CONNECT_INCOMPATIBLE_FORMAT.dnr(), dw0: 0 }
    }

    /// No such subsystem, or not on this port.
    pub const fn unknown_subsystem() -> Self {
        Self::data(Self::SUBNQN)
    }

    /// No controller of that id.
    pub const fn unknown_controller() -> Self {
        Self::data(Self::CNTLID)
    }

    /// This host may not connect to this subsystem, or is not the one of the admin queue.
    pub const fn invalid_host() -> Self {
        Self { status: Status::CONNECT_INVALID_HOST.dnr(), dw0: Self::HOSTNQN | Self::IATTR_DATA }
    }

    /// The queue id is above what was granted.
    pub const fn invalid_qid() -> Self {
        Self::sqe(Self::QID)
    }

    /// The queue is larger than the controller allows.
    pub const fn invalid_sqsize() -> Self {
        Self::sqe(Self::SQSIZE)
    }

    /// Not now: no controller id or other resource is free, or the queue id is still in use. The
    /// host is to try again.
    pub const fn busy() -> Self {
        Self { status: Status::CONNECT_CONTROLLER_BUSY, dw0: 0 }
    }
}

impl From<Status> for ConnectError {
    fn from(status: Status) -> Self {
        Self { status, dw0: 0 }
    }
}

impl From<ConnectError> for Outcome {
    fn from(error: ConnectError) -> Self {
        Self { result: u64::from(error.dw0), ..Self::failed(error.status) }
    }
}

/// What an I/O queue knows of its controller: a snapshot, replaced by messages of the owner.
#[derive(Debug, Clone)]
pub struct IoView {
    /// The controller is enabled and ready.
    pub ready: bool,
    /// The volatile write cache is on; when it is off every write goes to the medium.
    pub write_cache: bool,
    /// Subsystem with its namespaces.
    pub subsystem: Arc<Subsystem>,
}

/// The right to run an I/O queue, from [`crate::Controller::connect_io`] to
/// [`crate::Queue::connect_io`].
#[derive(Debug, Clone)]
pub struct IoGrant {
    /// Controller of the queue.
    pub cntlid: Cntlid,
    /// Its snapshot.
    pub view: IoView,
    /// What queue and controller share.
    pub activity: Arc<IoActivity>,
    /// Where the queue's failures are kept.
    pub errors: Arc<ErrorLog>,
    /// The host has to authenticate itself with these on the queue too.
    pub credentials: Option<Arc<Credentials>>,
}
