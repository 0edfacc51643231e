//! A host that does everything right, up to the point where a case departs from it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nvme::admin::fctype;
use nvme::{Cqe, Sqe, io};

use crate::command::{Connect, HostName, command, fabrics, keyed, private_data, show, with_cid};
use crate::connection::{Answer, Connection, Opened};
use crate::limits::READY_TRIES;

/// Entries of an admin queue.
pub(crate) const ADMIN_ENTRIES: u16 = 32;
/// Entries of an I/O queue.
pub(crate) const IO_ENTRIES: u16 = 128;

/// What the cases are about.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// A subsystem for every host, with 64 MiB of 512-byte blocks as namespace 1.
    pub(crate) nqn: String,
    /// A subsystem that does not let us in.
    pub(crate) private_nqn: String,
    pub(crate) host: HostName,
}

impl Target {
    /// A connection for a queue, before Connect.
    pub(crate) fn open(&self, qid: u16) -> Result<Connection> {
        let entries = if qid == 0 { ADMIN_ENTRIES } else { IO_ENTRIES };
        match Connection::open(self.address, &private_data(qid, entries))? {
            Opened::Yes(connection) => Ok(*connection),
            Opened::Rejected(code) => bail!("queue {qid} was rejected with {code:#04x}"),
        }
    }

    /// A Connect command that is granted on a queue.
    pub(crate) fn connect(&self, qid: u16, cntlid: u16) -> Connect {
        let entries = if qid == 0 { ADMIN_ENTRIES } else { IO_ENTRIES };
        Connect {
            recfmt: 0,
            qid,
            sqsize: entries - 1,
            kato_ms: if qid == 0 { 120_000 } else { 0 },
            cntlid,
            host: self.host.clone(),
            subnqn: self.nqn.clone().into_bytes(),
            dptr: None,
        }
    }

    /// The admin queue of a controller that is not enabled.
    pub(crate) fn admin(&self) -> Result<Admin> {
        let mut queue = self.open(0)?;
        let connect = self.connect(0, 0xffff);
        let capsule = connect.capsule(&queue);
        let cqe = success(&mut queue, capsule)?;
        let cntlid = u16::try_from(cqe.result.get() & 0xffff)?;
        Ok(Admin { queue, cntlid })
    }

    /// The admin queue of one that is.
    pub(crate) fn enabled(&self) -> Result<Admin> {
        let mut admin = self.admin()?;
        admin.enable()?;
        Ok(admin)
    }

    /// With I/O queue 1.
    pub(crate) fn live(&self) -> Result<Live> {
        let admin = self.enabled()?;
        let io = self.io(admin.cntlid, 1)?;
        Ok(Live { admin, io })
    }

    /// A connected I/O queue.
    pub(crate) fn io(&self, cntlid: u16, qid: u16) -> Result<Connection> {
        let mut queue = self.open(qid)?;
        let connect = self.connect(qid, cntlid);
        let capsule = connect.capsule(&queue);
        success(&mut queue, capsule)?;
        Ok(queue)
    }
}

/// A connected admin queue.
pub(crate) struct Admin {
    pub(crate) queue: Connection,
    pub(crate) cntlid: u16,
}

impl Admin {
    fn enable(&mut self) -> Result<()> {
        // EN, all supported command sets, entries of 64 and 16 bytes.
        self.set_cc(0x0046_0061)?;
        for _ in 0..READY_TRIES {
            let get = fabrics(fctype::PROPERTY_GET, [0; 16], [0, 0x1c, 0]);
            if success(&mut self.queue, get)?.result.get() & 1 == 1 {
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        bail!("the controller does not become ready")
    }

    pub(crate) fn set_cc(&mut self, value: u32) -> Result<()> {
        let set = fabrics(fctype::PROPERTY_SET, [0; 16], [0, 0x14, value]);
        success(&mut self.queue, set).map(drop)
    }
}

/// A controller with one I/O queue.
pub(crate) struct Live {
    pub(crate) admin: Admin,
    pub(crate) io: Connection,
}

impl Live {
    /// Reads block 0: what a host whose neighbour misbehaves must still be able to do.
    pub(crate) fn read(&mut self) -> Result<String> {
        let read = command(io::opcode::READ, 1, keyed(&self.io, 512), [0; 3]);
        one(&mut self.io, read)
    }

    pub(crate) fn disconnect(self) -> Result<()> {
        self.io.disconnect()?;
        self.admin.queue.disconnect()
    }
}

/// Sends one command; the answer in words.
pub(crate) fn one(queue: &mut Connection, sqe: Sqe) -> Result<String> {
    queue.send(&with_cid(sqe, 1))?;
    queue.answer().map(show)
}

/// Sends one command that has to succeed.
fn success(queue: &mut Connection, sqe: Sqe) -> Result<Cqe> {
    queue.send(&with_cid(sqe, 0x7ff0))?;
    let answer = queue.answer()?;
    let Answer::Response(cqe) = answer else { bail!("{}", show(answer)) };
    ensure!(cqe.status().is_success(), "{}", show(answer));
    ensure!(cqe.cid.get() == 0x7ff0, "the answer to another command");
    Ok(cqe)
}
