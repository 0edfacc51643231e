//! Controller properties (NVMe Base 2.0 §3.1.3): CAP, VS, CC, CSTS, CRTO and nothing else.

use crate::admin::PropertySize;
use crate::limits;
use crate::wire::Status;

/// Version that controllers report: 2.0.0.
///
/// It makes log pages 00h, 05h and 12h, Identify 05h, 06h, 08h and 1Ch, CAP.CRMS and CRTO
/// mandatory, all of which hosts of today ask for; 2.1 would add more that nobody asks for.
pub const VERSION: u32 = 0x0002_0000;

/// Offsets of the properties that exist.
pub mod offset {
    /// Controller Capabilities, 8 bytes.
    pub const CAP: u32 = 0x00;
    /// Version, 4 bytes.
    pub const VS: u32 = 0x08;
    /// Controller Configuration, 4 bytes.
    pub const CC: u32 = 0x14;
    /// Controller Status, 4 bytes.
    pub const CSTS: u32 = 0x1c;
    /// Controller Ready Timeouts, 4 bytes.
    pub const CRTO: u32 = 0x68;
}

const CC_EN: u32 = 1;
const CC_CSS: u32 = 7 << 4;
const CC_CSS_NVM: u32 = 0 << 4;
const CC_CSS_ALL: u32 = 6 << 4;
const CC_MPS: u32 = 0xf << 7;
const CC_AMS: u32 = 7 << 11;
const CC_SHN: u32 = 3 << 14;
const CC_SHN_NONE: u32 = 0;
const CC_SHN_ABRUPT: u32 = 2 << 14;
const CC_IOSQES: u32 = 0xf << 16;
const CC_IOCQES: u32 = 0xf << 20;
/// 64-byte submission and 16-byte completion queue entries.
const CC_ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;

const CSTS_RDY: u32 = 1;
const CSTS_CFS: u32 = 1 << 1;
const CSTS_SHST_OCCURRING: u32 = 1 << 2;
const CSTS_SHST_COMPLETE: u32 = 2 << 2;

/// Contiguous queues required, which means nothing over fabrics but is mandatory.
const CAP_CQR: u64 = 1 << 16;
const CAP_CSS_NVM: u64 = 1 << 37;
/// I/O command sets can be selected one by one.
const CAP_CSS_IOCS: u64 = 1 << 43;
/// Controller Ready With Media, mandatory from 2.0 on.
const CAP_CRMS_CRWMS: u64 = 1 << 59;

/// What follows from a write to CC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Nothing.
    None,
    /// EN became 1 and the controller is ready.
    Enabled,
    /// EN became 0: RDY follows when the I/O queues have ended.
    Disabling,
    /// EN became 0 on a controller that was not ready.
    Disabled,
    /// SHN was set: SHST says complete when the I/O queues have ended.
    ShuttingDown { abrupt: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    None,
    Occurring,
    Complete,
}

/// The properties of one controller.
#[derive(Debug)]
pub(crate) struct Properties {
    cap: u64,
    cc: u32,
    ready: bool,
    failed: bool,
    shutdown: Shutdown,
    /// Entry sizes and command set in CC are held against the host: not on discovery controllers,
    /// whose hosts were never made to set them.
    strict: bool,
}

impl Properties {
    pub(crate) fn new(mqes: u16, strict: bool) -> Self {
        let cap = u64::from(mqes)
            | CAP_CQR
            | u64::from(limits::READY_TIMEOUT_500MS) << 24
            | CAP_CSS_NVM
            | CAP_CSS_IOCS
            | CAP_CRMS_CRWMS;
        Self { cap, cc: 0, ready: false, failed: false, shutdown: Shutdown::None, strict }
    }

    /// Property Get.
    pub(crate) fn get(&self, at: u32, size: PropertySize) -> Result<u64, Status> {
        match (at, size) {
            (offset::CAP, PropertySize::Eight) => Ok(self.cap),
            (offset::VS, PropertySize::Four) => Ok(u64::from(VERSION)),
            (offset::CC, PropertySize::Four) => Ok(u64::from(self.cc)),
            (offset::CSTS, PropertySize::Four) => Ok(u64::from(self.csts())),
            (offset::CRTO, PropertySize::Four) => Ok(u64::from(limits::READY_TIMEOUT_500MS)),
            (_, PropertySize::Four | PropertySize::Eight) => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    /// Property Set: only CC can be written.
    pub(crate) fn set(
        &mut self,
        at: u32,
        size: PropertySize,
        value: u64,
    ) -> Result<Transition, Status> {
        match (at, size) {
            (offset::CC, PropertySize::Four) => {
                // A 4-byte property is the low half of the value field.
                self.write_cc(u32::try_from(value & 0xffff_ffff).unwrap_or(0))
            }
            (_, PropertySize::Four | PropertySize::Eight) => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    fn write_cc(&mut self, cc: u32) -> Result<Transition, Status> {
        let was_enabled = self.cc & CC_EN != 0;
        let enable = cc & CC_EN != 0;
        if enable && !was_enabled {
            if self.ready {
                // The I/O queues of the last life have not ended yet.
                return Err(Status::COMMAND_SEQUENCE_ERROR.dnr());
            }
            self.cc = cc;
            return Ok(self.enable(cc));
        }
        self.cc = cc;
        if was_enabled && !enable {
            if self.ready {
                return Ok(Transition::Disabling);
            }
            self.disabled();
            return Ok(Transition::Disabled);
        }
        let disabling = self.ready && !enable;
        let shut_down = cc & CC_SHN != CC_SHN_NONE && self.shutdown == Shutdown::None;
        if shut_down && !disabling && !self.failed {
            self.shutdown = Shutdown::Occurring;
            return Ok(Transition::ShuttingDown { abrupt: cc & CC_SHN == CC_SHN_ABRUPT });
        }
        Ok(Transition::None)
    }

    /// What can't be granted makes the controller fail, as CC has no other way to say no.
    fn enable(&mut self, cc: u32) -> Transition {
        let sizes = cc & (CC_IOSQES | CC_IOCQES) == CC_ENTRY_SIZES;
        let command_set = matches!(cc & CC_CSS, CC_CSS_NVM | CC_CSS_ALL);
        let memory = cc & (CC_MPS | CC_AMS) == 0;
        self.shutdown = Shutdown::None;
        if self.strict && !(sizes && command_set && memory) {
            self.failed = true;
            return Transition::None;
        }
        self.ready = true;
        Transition::Enabled
    }

    /// The I/O queues have ended after [`Transition::Disabling`].
    pub(crate) fn disabled(&mut self) {
        self.ready = false;
        self.failed = false;
        self.shutdown = Shutdown::None;
    }

    /// The I/O queues have ended after [`Transition::ShuttingDown`].
    pub(crate) fn shut_down(&mut self) {
        if self.shutdown == Shutdown::Occurring {
            self.shutdown = Shutdown::Complete;
        }
    }

    /// The controller can't go on.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// Enabled, ready, and not failed: admin commands are taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.cc & CC_EN != 0 && self.ready && !self.failed
    }

    /// The same and not shut down: I/O commands are taken.
    pub(crate) fn takes_io(&self) -> bool {
        self.is_ready() && self.shutdown == Shutdown::None
    }

    pub(crate) fn csts(&self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.ready, CSTS_RDY)
            | bit(self.failed, CSTS_CFS)
            | match self.shutdown {
                Shutdown::None => 0,
                Shutdown::Occurring => CSTS_SHST_OCCURRING,
                Shutdown::Complete => CSTS_SHST_COMPLETE,
            }
    }
}
