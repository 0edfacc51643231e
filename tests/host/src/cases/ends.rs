//! Hosts that leave in the middle of something, or never begin.

use std::time::Instant;

use anyhow::{Result, ensure};
use nvme::admin::opcode as admin;
use nvme::io::opcode;

use crate::association::Target;
use crate::command::{command, keyed, private_data, show, with_cid};
use crate::connection::Connection;
use crate::table::Table;

/// How a host leaves.
#[derive(Clone, Copy)]
enum Leave {
    /// It disconnects.
    Disconnect,
    /// Its queue pair is gone, without a word before.
    Destroy,
}

impl Leave {
    fn go(self, connection: Connection) -> Result<()> {
        match self {
            Self::Disconnect => connection.disconnect(),
            Self::Destroy => connection.destroy(),
        }
    }
}

type Stage = fn(&Target, Leave) -> Result<()>;

pub(crate) fn run(target: &Target, table: &mut Table) -> Result<()> {
    let early = || {
        for qid in [0, 1, 0, 1] {
            Connection::open_and_leave(target.address, &private_data(qid, 16))?;
        }
        Ok("left".to_owned())
    };
    table.case("leave before the answer to the request", "left", early());
    let stages: [(&str, Stage); 6] = [
        ("before Connect", |target, leave| leave.go(target.open(0)?)),
        ("while Connect's data is fetched", |target, leave| {
            let mut queue = target.open(0)?;
            let connect = target.connect(0, 0xffff).capsule(&queue);
            queue.send(&with_cid(connect, 1))?;
            leave.go(queue)
        }),
        ("while an I/O queue's Connect is answered", |target, leave| {
            let live = target.live()?;
            let mut queue = target.open(2)?;
            let connect = target.connect(2, live.admin.cntlid).capsule(&queue);
            queue.send(&with_cid(connect, 1))?;
            leave.go(queue)?;
            live.disconnect()
        }),
        ("with event requests and Identify outstanding", |target, leave| {
            let mut admin_queue = target.enabled()?.queue;
            for cid in 0..4 {
                let event = command(admin::ASYNC_EVENT_REQUEST, 0, [0; 16], [0; 3]);
                admin_queue.send(&with_cid(event, cid))?;
            }
            for cid in 4..31 {
                let page = keyed(&admin_queue, 4096);
                let identify = command(admin::IDENTIFY, 0, page, [1, 0, 0]);
                admin_queue.send(&with_cid(identify, cid))?;
            }
            leave.go(admin_queue)
        }),
        ("with writes outstanding", |target, leave| io(target, leave, opcode::WRITE)),
        ("with reads outstanding", |target, leave| io(target, leave, opcode::READ)),
    ];
    for (name, stage) in stages {
        for (how, leave) in [("disconnect", Leave::Disconnect), ("vanish", Leave::Destroy)] {
            let left = stage(target, leave).map(|()| "left".to_owned());
            table.case(&format!("{how} {name}"), "left", left);
        }
    }
    let orphan = || {
        let mut live = target.live()?;
        live.admin.queue.destroy()?;
        live.io.answer().map(show)
    };
    table.case("I/O queue of an admin queue that vanished", "closed", orphan());
    table.case("never a Connect on an admin queue", "closed", silent(target, 0));
    table.case("never a Connect on an I/O queue", "closed", silent(target, 1));
    table.case("refused Connects until the handshake's end", "closed", stubborn(target));
    Ok(())
}

/// Leaves with 64 commands of 64 KiB on their way.
fn io(target: &Target, leave: Leave, opcode: u8) -> Result<()> {
    let mut live = target.live()?;
    for cid in 0..64 {
        let data = keyed(&live.io, 64 << 10);
        let lba = u32::from(cid) * 128;
        live.io.send(&with_cid(command(opcode, 1, data, [lba, 0, 127]), cid))?;
    }
    leave.go(live.io)?;
    leave.go(live.admin.queue)
}

fn silent(target: &Target, qid: u16) -> Result<String> {
    let began = Instant::now();
    let mut queue = target.open(qid)?;
    let answer = queue.answer().map(show)?;
    ensure!(began.elapsed().as_millis() > 500, "it was closed before any handshake timeout");
    queue.disconnect()?;
    Ok(answer)
}

/// A host that keeps its connection busy with Connects that can't succeed.
fn stubborn(target: &Target) -> Result<String> {
    let mut queue = target.open(0)?;
    let mut connect = target.connect(0, 0xffff);
    connect.recfmt = 9;
    let began = Instant::now();
    while began.elapsed() < crate::limits::ANSWER_TIMEOUT {
        queue.send(&with_cid(connect.capsule(&queue), 1))?;
        let answer = queue.answer().map(show)?;
        if answer != "180h dnr" {
            queue.disconnect()?;
            return Ok(answer);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok("still there".to_owned())
}
