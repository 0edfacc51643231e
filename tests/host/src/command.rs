//! Commands as a host builds them, with every field open to be made wrong.

use nvme::admin::fctype;
use nvme::rdma::RequestPrivateData;
use nvme::{Cid, HostSgl, Qid, RKey, Sgl, Sqe};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::connection::{Answer, Connection};
use crate::memory::DATA_AT;

/// A host's name and identifier.
#[derive(Clone)]
pub(crate) struct HostName {
    pub(crate) nqn: Vec<u8>,
    pub(crate) id: [u8; 16],
}

/// Private data of a request for a queue of so many entries.
pub(crate) fn private_data(qid: u16, entries: u16) -> Vec<u8> {
    let hsqsize = entries.wrapping_sub(1);
    RequestPrivateData { qid: Qid(qid), hrqsize: entries, hsqsize, cntlid: 0 }.emit().to_vec()
}

/// A keyed SGL of the connection's data area.
pub(crate) fn keyed(connection: &Connection, len: u32) -> [u8; 16] {
    at(connection.memory.addr(DATA_AT), connection.rkey(), len)
}

/// A keyed SGL of any claim.
pub(crate) fn at(addr: u64, rkey: u32, len: u32) -> [u8; 16] {
    Sgl::Keyed(HostSgl { addr, rkey: RKey(rkey), len, invalidate: false }).emit()
}

/// An SGL of data in the capsule.
pub(crate) fn in_capsule(offset: u64, len: u32) -> [u8; 16] {
    Sgl::InCapsule { offset, len }.emit()
}

/// A command with its data pointer and dwords 10 to 12.
pub(crate) fn command(opcode: u8, nsid: u32, dptr: [u8; 16], dwords: [u32; 3]) -> Sqe {
    let mut sqe = Sqe::new(opcode, Cid(0));
    sqe.nsid = U32::new(nsid);
    sqe.dptr = dptr;
    [sqe.cdw10, sqe.cdw11, sqe.cdw12] = dwords.map(U32::new);
    sqe
}

/// A Fabrics command.
pub(crate) fn fabrics(fctype: u8, dptr: [u8; 16], dwords: [u32; 3]) -> Sqe {
    command(Sqe::FABRICS, u32::from(fctype), dptr, dwords)
}

/// A Connect command.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) recfmt: u16,
    pub(crate) qid: u16,
    pub(crate) sqsize: u16,
    pub(crate) kato_ms: u32,
    pub(crate) cntlid: u16,
    pub(crate) host: HostName,
    pub(crate) subnqn: Vec<u8>,
    /// In place of the keyed SGL of 1024 bytes.
    pub(crate) dptr: Option<[u8; 16]>,
}

impl Connect {
    /// Writes its data to the connection's memory and gives its capsule.
    pub(crate) fn capsule(&self, connection: &Connection) -> Sqe {
        let mut data = [0; 1024];
        data[..16].copy_from_slice(&self.host.id);
        data[16..18].copy_from_slice(&self.cntlid.to_le_bytes());
        data[256..256 + self.subnqn.len()].copy_from_slice(&self.subnqn);
        data[512..512 + self.host.nqn.len()].copy_from_slice(&self.host.nqn);
        connection.memory.write(DATA_AT, &data);
        let dptr = self.dptr.unwrap_or_else(|| keyed(connection, 1024));
        let cdw10 = u32::from(self.qid) << 16 | u32::from(self.recfmt);
        fabrics(fctype::CONNECT, dptr, [cdw10, u32::from(self.sqsize), self.kato_ms])
    }
}

/// Gives a command its id and its bytes.
pub(crate) fn with_cid(mut sqe: Sqe, cid: u16) -> [u8; 64] {
    sqe.cid = cid.into();
    let mut bytes = [0; 64];
    bytes.copy_from_slice(sqe.as_bytes());
    bytes
}

/// An answer in words: type and code of the status as one number, and DW0 when it failed with one.
pub(crate) fn show(answer: Answer) -> String {
    let cqe = match answer {
        Answer::Response(cqe) => cqe,
        Answer::Closed => return "closed".to_owned(),
        Answer::Silence => return "silence".to_owned(),
    };
    let status = cqe.status();
    if status.is_success() {
        return "success".to_owned();
    }
    let number = u16::from(status.sct()) << 8 | u16::from(status.sc());
    let dnr = if status.is_dnr() { " dnr" } else { "" };
    match cqe.result.get() {
        0 => format!("{number:03x}h{dnr}"),
        dw0 => format!("{number:03x}h{dnr} dw0 {dw0:05x}h"),
    }
}
