//! Features of a controller (NVMe Base 2.0 §5.27): what can be got, what set, what never changes.

use crate::admin::{Select, SetFeatures};
use crate::ident::Nsid;
use crate::wire::Status;
use crate::wire::refusal::{Refusal, field};

/// Feature identifiers that we know.
pub mod fid {
    /// Arbitration.
    pub const ARBITRATION: u8 = 0x01;
    /// Power Management.
    pub const POWER_MANAGEMENT: u8 = 0x02;
    /// Temperature Threshold.
    pub const TEMPERATURE_THRESHOLD: u8 = 0x04;
    /// Error Recovery.
    pub const ERROR_RECOVERY: u8 = 0x05;
    /// Volatile Write Cache.
    pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
    /// Number of Queues.
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
    /// Write Atomicity Normal.
    pub const WRITE_ATOMICITY: u8 = 0x0a;
    /// Asynchronous Event Configuration.
    pub const ASYNC_EVENT_CONFIGURATION: u8 = 0x0b;
    /// Keep Alive Timer.
    pub const KEEP_ALIVE_TIMER: u8 = 0x0f;
    /// I/O Command Set Profile.
    pub const IO_COMMAND_SET_PROFILE: u8 = 0x19;
    /// Host Identifier.
    pub const HOST_IDENTIFIER: u8 = 0x81;
}

/// Bytes of the host identifier over fabrics.
pub(crate) const HOST_IDENTIFIER_BYTES: u32 = 16;
const HOST_IDENTIFIER_EXHID: u32 = 1;

/// Supported capabilities (Select 3): the value can be changed.
const CHANGEABLE: u32 = 1 << 2;

/// Data of a Get Features command, in bytes.
pub(crate) fn data_bytes(fid: u8, select: Select) -> Option<u32> {
    let host_id = fid == fid::HOST_IDENTIFIER && select != Select::SupportedCapabilities;
    host_id.then_some(HOST_IDENTIFIER_BYTES)
}

/// Features that I/O controllers have, and whether each can be changed.
const IO_FEATURES: [(u8, bool); 11] = [
    (fid::ARBITRATION, true),
    (fid::POWER_MANAGEMENT, true),
    (fid::TEMPERATURE_THRESHOLD, true),
    (fid::ERROR_RECOVERY, true),
    (fid::VOLATILE_WRITE_CACHE, true),
    (fid::NUMBER_OF_QUEUES, true),
    (fid::WRITE_ATOMICITY, true),
    (fid::ASYNC_EVENT_CONFIGURATION, true),
    (fid::KEEP_ALIVE_TIMER, true),
    (fid::IO_COMMAND_SET_PROFILE, true),
    (fid::HOST_IDENTIFIER, false),
];

/// Features that discovery controllers have.
const DISCOVERY_FEATURES: [(u8, bool); 2] =
    [(fid::ASYNC_EVENT_CONFIGURATION, true), (fid::KEEP_ALIVE_TIMER, true)];

/// The features of one kind of controller.
pub(crate) fn list(discovery: bool) -> &'static [(u8, bool)] {
    if discovery { &DISCOVERY_FEATURES } else { &IO_FEATURES }
}

/// Whether such a controller has the feature; then its supported capabilities.
pub(crate) fn capabilities(discovery: bool, fid: u8) -> Option<u32> {
    let found = list(discovery).iter().find(|(known, _)| *known == fid);
    found.map(|(_, changeable)| if *changeable { CHANGEABLE } else { 0 })
}

/// Feature values that only this module decides about; the others are with what they govern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    arbitration: u32,
    error_recovery: u32,
    write_atomicity: u32,
    /// Over-temperature threshold of the composite sensor in kelvin; never reached.
    over_temperature: u32,
    /// Under-temperature threshold.
    under_temperature: u32,
    /// The volatile write cache is on.
    pub(crate) write_cache: bool,
    /// I/O queues granted.
    pub(crate) io_queues: u16,
    io_queues_max: u16,
}

const TEMPERATURE_VALUE: u32 = 0xffff;
const TEMPERATURE_SENSOR: u32 = 0xf << 16;
const TEMPERATURE_TYPE: u32 = 3 << 20;
const TEMPERATURE_UNDER: u32 = 1 << 20;

impl Features {
    pub(crate) fn new(io_queues_max: u16) -> Self {
        Self {
            arbitration: 0,
            error_recovery: 0,
            write_atomicity: 0,
            over_temperature: TEMPERATURE_VALUE,
            under_temperature: 0,
            write_cache: true,
            io_queues: io_queues_max,
            io_queues_max,
        }
    }

    /// The values after a reset.
    pub(crate) fn defaults(&self) -> Self {
        Self::new(self.io_queues_max)
    }

    /// Back to the defaults.
    pub(crate) fn reset(&mut self) {
        *self = self.defaults();
    }

    /// The value of a feature of an I/O controller; `None` for one that is kept elsewhere.
    pub(crate) fn get(&self, fid: u8, cdw11: u32) -> Result<Option<u32>, Refusal> {
        Ok(Some(match fid {
            fid::ARBITRATION => self.arbitration,
            // Power state 0, the only one, and command set combination 0.
            fid::POWER_MANAGEMENT | fid::IO_COMMAND_SET_PROFILE => 0,
            fid::TEMPERATURE_THRESHOLD => *self.clone().threshold(cdw11)?,
            fid::ERROR_RECOVERY => self.error_recovery,
            fid::VOLATILE_WRITE_CACHE => u32::from(self.write_cache),
            fid::NUMBER_OF_QUEUES => self.queues(),
            fid::WRITE_ATOMICITY => self.write_atomicity,
            _ => return Ok(None),
        }))
    }

    /// Both counts, 0's based.
    fn queues(&self) -> u32 {
        let count = u32::from(self.io_queues.saturating_sub(1));
        count << 16 | count
    }

    /// The threshold that a value speaks of: over or under, composite or every sensor.
    fn threshold(&mut self, cdw11: u32) -> Result<&mut u32, Refusal> {
        let sensor = cdw11 & TEMPERATURE_SENSOR;
        if sensor != 0 && sensor != TEMPERATURE_SENSOR {
            return Err(Status::INVALID_FIELD.dnr().at(field::CDW11));
        }
        match cdw11 & TEMPERATURE_TYPE {
            0 => Ok(&mut self.over_temperature),
            TEMPERATURE_UNDER => Ok(&mut self.under_temperature),
            _ => Err(Status::INVALID_FIELD.dnr().at(field::CDW11)),
        }
    }

    /// Sets a feature of an I/O controller; returns dword 0 of the completion.
    pub(crate) fn set(&mut self, command: &SetFeatures) -> Result<u32, Refusal> {
        let value = command.cdw11;
        match command.fid {
            fid::ARBITRATION => self.arbitration = value,
            fid::POWER_MANAGEMENT if value & 0x1f == 0 => {}
            fid::TEMPERATURE_THRESHOLD => *self.threshold(value)? = value & TEMPERATURE_VALUE,
            // Deallocated or Unwritten Logical Block Error is not supported.
            fid::ERROR_RECOVERY if value & 1 << 16 == 0 => self.error_recovery = value & 0xffff,
            fid::VOLATILE_WRITE_CACHE => self.write_cache = value & 1 != 0,
            fid::NUMBER_OF_QUEUES => return self.set_queues(value),
            fid::WRITE_ATOMICITY => self.write_atomicity = value & 1,
            fid::IO_COMMAND_SET_PROFILE if value & 0x1ff != 0 => {
                return Err(Status::COMMAND_SET_COMBINATION_REJECTED.dnr().at(field::CDW11));
            }
            fid::IO_COMMAND_SET_PROFILE => {}
            _ => return Err(Status::INVALID_FIELD.dnr().at(field::CDW11)),
        }
        Ok(0)
    }

    /// A queue is a pair over fabrics: the smaller of both counts is granted.
    fn set_queues(&mut self, value: u32) -> Result<u32, Refusal> {
        let [sq_low, sq_high, cq_low, cq_high] = value.to_le_bytes();
        let submission = u16::from_le_bytes([sq_low, sq_high]);
        let completion = u16::from_le_bytes([cq_low, cq_high]);
        let wanted = submission.min(completion).checked_add(1);
        match wanted {
            Some(wanted) if submission != u16::MAX && completion != u16::MAX => {
                self.io_queues = wanted.min(self.io_queues_max);
                Ok(self.queues())
            }
            _ => Err(Status::INVALID_FIELD.dnr().at(field::CDW11)),
        }
    }
}

/// What is wrong with every Set Features of its kind (NVMe Base 2.0 §5.27).
pub(crate) fn check_set(discovery: bool, command: &SetFeatures) -> Result<(), Refusal> {
    let capabilities =
        capabilities(discovery, command.fid).ok_or(Status::INVALID_FIELD.dnr().at(field::CDW10))?;
    if command.save {
        return Err(Status::FEATURE_NOT_SAVEABLE.dnr().at_bit(field::CDW10, 31));
    }
    if command.fid == fid::HOST_IDENTIFIER {
        // Over fabrics it comes with Connect, and only then.
        return Err(Status::COMMAND_SEQUENCE_ERROR.dnr().at(field::CDW10));
    }
    if capabilities & CHANGEABLE == 0 {
        return Err(Status::FEATURE_NOT_CHANGEABLE.dnr().at(field::CDW10));
    }
    if command.nsid != Nsid(0) && command.nsid != Nsid::ALL {
        return Err(Status::FEATURE_NOT_NAMESPACE_SPECIFIC.dnr().at(field::NSID));
    }
    Ok(())
}

/// The host identifier is 128 bits over fabrics and nothing else.
pub(crate) fn check_host_identifier(cdw11: u32) -> Result<(), Refusal> {
    if cdw11 & HOST_IDENTIFIER_EXHID == 0 {
        return Err(Status::INVALID_FIELD.dnr().at(field::CDW11));
    }
    Ok(())
}
