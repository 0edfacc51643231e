//! A host that does exactly what a test says: its queues, and the capsules on them.

use nvme::connect::ConnectData;
use nvme::rdma::RequestPrivateData;
use nvme::{Cid, HostSgl, Qid, RKey, Sgl, Sqe};
use sim::peer::{ConnectParams, Region};
use sim::{Host, Peer, PeerEvent};
use zerocopy::{FromZeros, IntoBytes};

use crate::reactor::tests::bed::{Bed, SUBNQN, address};

/// Host memory that a queue's commands name.
const MEMORY_BYTES: usize = 2 << 20;
/// CC: enabled, with entry sizes of 64 and 16 bytes.
const CC_ENABLED: u32 = 1 | 6 << 16 | 4 << 20;

/// A host's end of a queue.
pub(super) struct HostQueue {
    pub(super) peer: Peer,
    host: Host,
    pub(super) memory: Region,
    cid: u16,
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) cid: u16,
    pub(super) status: u16,
    pub(super) result: u64,
}

impl HostQueue {
    /// Connects a queue pair and no more.
    pub(super) fn dial(bed: &mut Bed, host: &Host, device: usize, qid: u16, depth: u16) -> Self {
        let claim =
            RequestPrivateData { qid: Qid(qid), hrqsize: depth, hsqsize: depth - 1, cntlid: 0 };
        let params = ConnectParams {
            private_data: claim.emit().to_vec(),
            initiator_depth: 16,
            responder_resources: 0,
        };
        let peer = host.connect(address(device), params);
        bed.turn();
        let memory = host.register(MEMORY_BYTES);
        Self { peer, host: host.clone(), memory, cid: 0 }
    }

    /// A queue pair is there.
    pub(super) fn is_connected(&self) -> bool {
        self.peer.is_connected()
    }

    /// A keyed SGL over the first bytes of this queue's memory.
    pub(super) fn sgl(&self, len: u32) -> [u8; 16] {
        let (addr, rkey) = (self.memory.addr(), RKey(self.memory.rkey()));
        Sgl::Keyed(HostSgl { addr, rkey, len, invalidate: false }).emit()
    }

    /// A command with an id of its own and `len` bytes of data in host memory.
    pub(super) fn command(&mut self, opcode: u8, len: u32) -> Sqe {
        self.cid += 1;
        let mut sqe = Sqe::new(opcode, Cid(self.cid));
        sqe.nsid = 1.into();
        sqe.dptr = self.sgl(len);
        sqe
    }

    /// A read or write of `blocks` blocks of 512 bytes from block 0.
    pub(super) fn io(&mut self, opcode: u8, nsid: u32, blocks: u32) -> Sqe {
        let mut sqe = self.command(opcode, blocks * 512);
        sqe.nsid = nsid.into();
        sqe.cdw12 = (blocks - 1).into();
        sqe
    }

    /// Puts bytes at the start of this queue's memory.
    pub(super) fn put(&self, bytes: &[u8]) {
        self.host.write(&self.memory, 0, bytes);
    }

    /// Sends a capsule and is ready to take its response.
    pub(super) fn send(&mut self, bed: &mut Bed, sqe: &Sqe) {
        self.peer.post_recv(16, 0);
        self.send_only(bed, sqe.as_bytes());
    }

    /// Sends bytes, with no receive for what comes back.
    pub(super) fn send_only(&mut self, bed: &mut Bed, capsule: &[u8]) {
        self.peer.post_send(capsule, 0);
        bed.turn();
    }

    /// Responses since the last look.
    pub(super) fn responses(&self) -> Vec<Response> {
        let mut received = Vec::new();
        while let Some(event) = self.peer.poll() {
            if let PeerEvent::Received { bytes, .. } = event {
                received.push(bytes);
            }
        }
        let word = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let response = |bytes: Vec<u8>| Response {
            cid: word(&bytes, 12),
            status: word(&bytes, 14) >> 1,
            result: u64::from_le_bytes(*bytes.first_chunk().unwrap()),
        };
        received.into_iter().map(response).collect()
    }

    /// Sends the Connect command; the response, if one came.
    pub(super) fn nvme_connect(
        &mut self,
        bed: &mut Bed,
        (qid, depth): (u16, u16),
        (subnqn, hostnqn): (&str, &str),
        (cntlid, kato_ms): (u16, u32),
    ) -> Option<Response> {
        let mut data = ConnectData::new_zeroed();
        data.host_id[0] = 9;
        data.cntlid = cntlid.into();
        data.subnqn[..subnqn.len()].copy_from_slice(subnqn.as_bytes());
        data.hostnqn[..hostnqn.len()].copy_from_slice(hostnqn.as_bytes());
        self.put(data.as_bytes());
        let mut sqe = self.command(Sqe::FABRICS, 1024);
        // The Fabrics command type lies where other commands have their namespace.
        sqe.nsid = 1.into();
        sqe.cdw10 = (u32::from(qid) << 16).into();
        sqe.cdw11 = u32::from(depth - 1).into();
        sqe.cdw12 = kato_ms.into();
        self.send(bed, &sqe);
        self.responses().pop()
    }

    /// A live admin queue of an enabled controller.
    pub(super) fn admin(bed: &mut Bed, host: &Host, subnqn: &str) -> (Self, u16) {
        let mut queue = Self::dial(bed, host, 0, 0, 32);
        let names = (subnqn, "nqn.2026-01.bed:host");
        let response = queue.nvme_connect(bed, (0, 32), names, (0xffff, 3_600_000));
        let response = response.expect("an answer to Connect");
        assert_eq!(response.status, 0);
        let mut sqe = queue.command(Sqe::FABRICS, 0);
        sqe.nsid = 0.into();
        sqe.dptr = [0; 16];
        sqe.cdw11 = 0x14.into();
        sqe.cdw12 = CC_ENABLED.into();
        queue.send(bed, &sqe);
        assert_eq!(queue.responses().pop().expect("an answer to Property Set").status, 0);
        (queue, u16::try_from(response.result & 0xffff).unwrap())
    }

    /// A live I/O queue of that controller.
    pub(super) fn io_queue(bed: &mut Bed, host: &Host, cntlid: u16, qid: u16) -> Self {
        let mut queue = Self::dial(bed, host, 0, qid, 128);
        let names = (SUBNQN, "nqn.2026-01.bed:host");
        let response = queue.nvme_connect(bed, (qid, 128), names, (cntlid, 0));
        assert_eq!(response.expect("an answer to Connect").status, 0);
        queue
    }
}
