//! Status codes of completions (NVMe Base 2.0 §3.3.3.2.1).

use core::fmt;

/// A completion's status: code, type, More and Do Not Retry, without the phase tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    const MORE: u16 = 0x2000;
    const DNR: u16 = 0x4000;

    /// A status of that type (0 to 7) and code, to be retried.
    pub const fn new(sct: u8, sc: u8) -> Self {
        Self(((sct & 7) as u16) << 8 | sc as u16)
    }

    /// The status from the 15 bits above the phase tag.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x7fff)
    }

    /// The 15 bits that stand above the phase tag.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The same, not worth a retry.
    #[must_use]
    pub const fn dnr(self) -> Self {
        Self(self.0 | Self::DNR)
    }

    /// The same, with more in the error log.
    #[must_use]
    pub const fn more(self) -> Self {
        Self(self.0 | Self::MORE)
    }

    /// The same, with nothing in the error log.
    #[must_use]
    pub const fn without_more(self) -> Self {
        Self(self.0 & !Self::MORE)
    }

    /// Status Code Type.
    pub const fn sct(self) -> u8 {
        (self.0 >> 8 & 7) as u8
    }

    /// Status Code.
    pub const fn sc(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// Whether a retry is pointless.
    pub const fn is_dnr(self) -> bool {
        self.0 & Self::DNR != 0
    }

    /// Whether the command succeeded.
    pub const fn is_success(self) -> bool {
        self.0 & 0x07ff == 0
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:x}h/{:02x}h", self.sct(), self.sc())?;
        if self.is_dnr() {
            f.write_str(" DNR")?;
        }
        f.write_str(")")
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $sct:literal, $sc:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self::new($sct, $sc);)*
        }
    };
}

codes! {
    /// Done.
    SUCCESS = 0, 0x00;
    /// The opcode is not known or not allowed here.
    INVALID_OPCODE = 0, 0x01;
    /// A field has a value that is not allowed.
    INVALID_FIELD = 0, 0x02;
    /// The command id is that of an outstanding command.
    COMMAND_ID_CONFLICT = 0, 0x03;
    /// The data did not get through.
    DATA_TRANSFER_ERROR = 0, 0x04;
    /// We failed.
    INTERNAL_ERROR = 0, 0x06;
    /// The host asked for it with Abort.
    ABORT_REQUESTED = 0, 0x07;
    /// The queue went away.
    ABORTED_SQ_DELETION = 0, 0x08;
    /// The other half of the fused operation failed.
    FAILED_FUSED = 0, 0x09;
    /// The other half of the fused operation is not next to it.
    MISSING_FUSED = 0, 0x0a;
    /// No namespace of that id here, or its format does not fit the command.
    INVALID_NAMESPACE = 0, 0x0b;
    /// Not at this point of the sequence.
    COMMAND_SEQUENCE_ERROR = 0, 0x0c;
    /// More blocks than can be compared and written at once.
    ATOMIC_WRITE_UNIT_EXCEEDED = 0, 0x14;
    /// The SGL's length is not that of the data.
    DATA_SGL_LENGTH_INVALID = 0, 0x0f;
    /// The SGL descriptor's type is not supported.
    SGL_DESCRIPTOR_TYPE_INVALID = 0, 0x11;
    /// The offset points out of the capsule.
    SGL_OFFSET_INVALID = 0, 0x16;
    /// The host identifier differs from that of the admin queue.
    HOST_ID_INCONSISTENT = 0, 0x18;
    /// The keep-alive timer ran out.
    KEEP_ALIVE_EXPIRED = 0, 0x19;
    /// The keep-alive timeout can't be granted.
    KEEP_ALIVE_INVALID = 0, 0x1a;
    /// The namespace is read-only.
    NAMESPACE_WRITE_PROTECTED = 0, 0x20;
    /// The transport had a passing failure.
    TRANSIENT_TRANSPORT_ERROR = 0, 0x22;
    /// The I/O command set is not supported.
    INVALID_IO_COMMAND_SET = 0, 0x2c;
    /// Blocks past the end of the namespace.
    LBA_OUT_OF_RANGE = 0, 0x80;
    /// The namespace's disk is full.
    CAPACITY_EXCEEDED = 0, 0x81;
    /// The namespace is not ready.
    NAMESPACE_NOT_READY = 0, 0x82;
    /// More Asynchronous Event Requests than the controller takes.
    ASYNC_EVENT_LIMIT = 1, 0x05;
    /// No log page of that id.
    INVALID_LOG_PAGE = 1, 0x09;
    /// The feature can't be saved.
    FEATURE_NOT_SAVEABLE = 1, 0x0d;
    /// The feature can't be changed.
    FEATURE_NOT_CHANGEABLE = 1, 0x0e;
    /// The feature is not one of a namespace.
    FEATURE_NOT_NAMESPACE_SPECIFIC = 1, 0x0f;
    /// No such combination of I/O command sets.
    COMMAND_SET_COMBINATION_REJECTED = 1, 0x2b;
    /// Connect: the record format is not known.
    CONNECT_INCOMPATIBLE_FORMAT = 1, 0x80;
    /// Connect: the controller can't take the connection now.
    CONNECT_CONTROLLER_BUSY = 1, 0x81;
    /// Connect: a parameter is wrong; DW0 says which.
    CONNECT_INVALID_PARAMETERS = 1, 0x82;
    /// Connect: this host may not connect here.
    CONNECT_INVALID_HOST = 1, 0x84;
    /// More ranges or blocks than a Copy command may name.
    COMMAND_SIZE_LIMIT_EXCEEDED = 1, 0x83;
    /// Disconnect: not on an admin queue.
    INVALID_QUEUE_TYPE = 1, 0x85;
    /// The host has to authenticate itself first.
    AUTHENTICATION_REQUIRED = 1, 0x91;
    /// The medium did not take the data.
    WRITE_FAULT = 2, 0x80;
    /// The medium did not give the data.
    UNRECOVERED_READ_ERROR = 2, 0x81;
    /// The blocks are not what the host compared them with.
    COMPARE_FAILURE = 2, 0x85;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_bits_are_those_of_the_specification() {
        assert_eq!(Status::CONNECT_INVALID_PARAMETERS.dnr().bits(), 0x4182);
        assert_eq!(Status::UNRECOVERED_READ_ERROR.bits(), 0x0281);
        assert_eq!(Status::ASYNC_EVENT_LIMIT.more().bits(), 0x2105);
        assert!(Status::SUCCESS.dnr().is_success());
        assert!(!Status::CONNECT_INVALID_HOST.is_success());
    }

    #[test]
    fn status_keeps_type_and_code_apart() {
        for bits in 0..0x8000 {
            let status = Status::from_bits(bits);
            assert_eq!(Status::new(status.sct(), status.sc()).bits(), bits & 0x07ff);
            assert_eq!(status.is_dnr(), bits & 0x4000 != 0);
        }
    }
}
