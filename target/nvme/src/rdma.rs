//! Private data of the RDMA connection manager (NVMe-oF 1.1 §7.3).
//!
//! It arrives longer than it was sent (56 bytes from `librdmacm`), so it is read by its format,
//! never by its length.

use crate::ident::Qid;
use crate::limits;

/// Why a connection is refused, as the reject private data says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u16)]
pub enum CmReject {
    /// Fewer than 32 bytes of private data.
    #[error("private data is too short")]
    InvalidLength = 0x01,
    /// RECFMT is not 0.
    #[error("private data has an unknown record format")]
    InvalidRecfmt = 0x02,
    /// The queue id can't be served.
    #[error("queue id is not valid here")]
    InvalidQid = 0x03,
    /// The host's send queue is too large or empty.
    #[error("host send queue size is not valid")]
    InvalidHsqsize = 0x04,
    /// The host's receive queue is empty.
    #[error("host receive queue size is not valid")]
    InvalidHrqsize = 0x05,
    /// No resources now; the host may try again.
    #[error("no resources")]
    NoResources = 0x06,
    /// Inbound RDMA READ depth is not valid.
    #[error("inbound RDMA READ depth is not valid")]
    InvalidIrd = 0x07,
    /// Outbound RDMA READ depth is not valid.
    #[error("outbound RDMA READ depth is not valid")]
    InvalidOrd = 0x08,
}

impl CmReject {
    /// The code of STS.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The reject private data: RECFMT and STS.
    pub fn emit(self) -> [u8; 4] {
        let [low, high] = self.code().to_le_bytes();
        [0, 0, low, high]
    }
}

/// What a host says about the queue that it is connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestPrivateData {
    /// Queue that the connection is for.
    pub qid: Qid,
    /// Entries of the host's receive queue, 1's based.
    pub hrqsize: u16,
    /// Entries of the host's send queue, 0's based.
    pub hsqsize: u16,
    /// Controller of an I/O queue, from hosts that say it; else 0.
    pub cntlid: u16,
}

/// A queue as the transport has it: what the Connect command must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportClaim {
    /// Queue id that the transport was told.
    pub qid: Qid,
    /// Commands that may be outstanding, 1's based: receives posted.
    pub entries: u16,
}

impl RequestPrivateData {
    /// Reads the private data of a connection request.
    ///
    /// # Errors
    /// The code to reject with.
    pub fn parse(data: &[u8]) -> Result<Self, CmReject> {
        let data: &[u8; limits::CM_PRIVATE_DATA_BYTES] =
            data.first_chunk().ok_or(CmReject::InvalidLength)?;
        let field = |at: usize| u16::from_le_bytes([data[at], data[at + 1]]);
        if field(0) != 0 {
            return Err(CmReject::InvalidRecfmt);
        }
        Ok(Self { qid: Qid(field(2)), hrqsize: field(4), hsqsize: field(6), cntlid: field(8) })
    }

    /// The private data of a connection request.
    pub fn emit(&self) -> [u8; limits::CM_PRIVATE_DATA_BYTES] {
        let mut data = [0; limits::CM_PRIVATE_DATA_BYTES];
        let fields = [0, self.qid.0, self.hrqsize, self.hsqsize, self.cntlid];
        for (bytes, field) in data.chunks_exact_mut(2).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        data
    }

    /// What the transport has to provide, if the host asks for no more than it may.
    ///
    /// `entries_max` bounds an I/O queue, 1's based; an admin queue has at most 32.
    ///
    /// # Errors
    /// The code to reject with.
    pub fn admit(&self, entries_max: u16) -> Result<TransportClaim, CmReject> {
        let bound = match self.qid {
            Qid::ADMIN => limits::ADMIN_QUEUE_ENTRIES_MAX,
            Qid(_) => entries_max,
        };
        let entries = self.hsqsize.checked_add(1).ok_or(CmReject::InvalidHsqsize)?;
        if entries < 2 || entries > bound {
            return Err(CmReject::InvalidHsqsize);
        }
        if self.hrqsize == 0 {
            return Err(CmReject::InvalidHrqsize);
        }
        Ok(TransportClaim { qid: self.qid, entries })
    }
}

/// What we say when we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AcceptPrivateData {
    /// Entries of our receive queue, 1's based.
    pub crqsize: u16,
}

impl AcceptPrivateData {
    /// The private data of the acceptance.
    pub fn emit(&self) -> [u8; limits::CM_PRIVATE_DATA_BYTES] {
        let mut data = [0; limits::CM_PRIVATE_DATA_BYTES];
        data[2..4].copy_from_slice(&self.crqsize.to_le_bytes());
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(qid: u16, hrqsize: u16, hsqsize: u16) -> RequestPrivateData {
        RequestPrivateData { qid: Qid(qid), hrqsize, hsqsize, cntlid: 0 }
    }

    proptest! {
        #[test]
        fn request_survives_the_wire_whatever_follows_it(
            qid: u16, hrqsize: u16, hsqsize: u16, cntlid: u16,
            tail in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let sent = RequestPrivateData { qid: Qid(qid), hrqsize, hsqsize, cntlid };
            let mut data = sent.emit().to_vec();
            data.extend(tail);
            prop_assert_eq!(RequestPrivateData::parse(&data), Ok(sent));
        }

        #[test]
        fn request_of_any_bytes_never_panics(
            data in prop::collection::vec(any::<u8>(), 0..64), max: u16,
        ) {
            if let Ok(request) = RequestPrivateData::parse(&data)
                && let Ok(claim) = request.admit(max)
            {
                prop_assert!(claim.entries >= 2);
                prop_assert_eq!(claim.entries - 1, request.hsqsize);
            }
        }
    }

    #[test]
    fn request_shorter_than_32_bytes_is_refused_with_01() {
        let data = request(0, 32, 31).emit();
        assert_eq!(RequestPrivateData::parse(&data[..31]), Err(CmReject::InvalidLength));
        assert_eq!(RequestPrivateData::parse(&[]), Err(CmReject::InvalidLength));
    }

    #[test]
    fn request_of_another_format_is_refused_with_02() {
        let mut data = request(0, 32, 31).emit();
        data[1] = 1;
        assert_eq!(RequestPrivateData::parse(&data), Err(CmReject::InvalidRecfmt));
    }

    #[test]
    fn admin_queue_of_more_than_32_entries_is_refused_with_04() {
        assert_eq!(request(0, 32, 31).admit(128).map(|claim| claim.entries), Ok(32));
        assert_eq!(request(0, 33, 32).admit(128), Err(CmReject::InvalidHsqsize));
    }

    #[test]
    fn io_queue_is_bounded_by_what_the_caller_allows() {
        assert_eq!(request(1, 128, 127).admit(128).map(|claim| claim.entries), Ok(128));
        assert_eq!(request(1, 129, 128).admit(128), Err(CmReject::InvalidHsqsize));
        assert_eq!(request(1, 1, u16::MAX).admit(u16::MAX), Err(CmReject::InvalidHsqsize));
        assert_eq!(request(1, 1, 0).admit(128), Err(CmReject::InvalidHsqsize));
        assert_eq!(request(1, 0, 127).admit(128), Err(CmReject::InvalidHrqsize));
    }

    #[test]
    fn reject_carries_format_0_and_the_code() {
        assert_eq!(CmReject::NoResources.emit(), [0, 0, 6, 0]);
        assert_eq!(CmReject::InvalidOrd.code(), 8);
    }

    #[test]
    fn accept_carries_crqsize_at_byte_2() {
        let data = AcceptPrivateData { crqsize: 0x0180 }.emit();
        assert_eq!(data[..4], [0, 0, 0x80, 0x01]);
        assert_eq!(data[4..], [0; 28]);
    }
}
