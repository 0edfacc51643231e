//! Connect commands with each field wrong, and what may not come before or after
//! (NVMe-oF 1.1 §3.3).

use anyhow::Result;
use nvme::admin::{fctype, opcode};
use nvme::{DISCOVERY_NQN, io};

use crate::association::{Target, one};
use crate::command::{Connect, at, command, fabrics, in_capsule, keyed};
use crate::table::Table;

type Change = fn(&mut Connect);

const CNTLID: &str = "182h dnr dw0 10010h";
const SUBNQN: &str = "182h dnr dw0 10100h";
const HOSTNQN: &str = "182h dnr dw0 10200h";
const HOST: &str = "184h dnr dw0 10200h";
const QID: &str = "182h dnr dw0 0002ah";
const SQSIZE: &str = "182h dnr dw0 0002ch";

pub(crate) fn run(target: &Target, table: &mut Table) -> Result<()> {
    admin(target, table);
    io(target, table)?;
    order(target, table);
    Ok(())
}

fn admin(target: &Target, table: &mut Table) {
    let cases: [(&str, &str, Change); 18] = [
        ("Connect with RECFMT 1", "180h dnr", |c| c.recfmt = 1),
        ("Connect with another QID", QID, |c| c.qid = 1),
        ("Connect with SQSIZE 0", SQSIZE, |c| c.sqsize = 0),
        ("Connect with SQSIZE 32 of 32 entries", SQSIZE, |c| c.sqsize = 32),
        ("Connect with SQSIZE FFFFh", SQSIZE, |c| c.sqsize = 0xffff),
        ("Connect with a KATO of 49 days", "01ah dnr", |c| c.kato_ms = u32::MAX),
        ("Connect with CNTLID 1 on the admin queue", CNTLID, |c| c.cntlid = 1),
        ("Connect with CNTLID FFFEh", CNTLID, |c| c.cntlid = 0xfffe),
        ("Connect to an unknown subsystem", SUBNQN, |c| c.subnqn.push(b'x')),
        ("Connect to no subsystem", SUBNQN, |c| c.subnqn.clear()),
        ("Connect to a name without end", SUBNQN, |c| c.subnqn = vec![b'a'; 256]),
        ("Connect to a name of 224 bytes", SUBNQN, |c| c.subnqn = vec![b'a'; 224]),
        ("Connect to a name that is not UTF-8", SUBNQN, |c| c.subnqn[4] = 0xff),
        ("Connect of a host without name", HOSTNQN, |c| c.host.nqn.clear()),
        ("Connect of a host with a name without end", HOSTNQN, |c| c.host.nqn = vec![b'h'; 256]),
        ("Connect with its data in the capsule", "016h dnr", |c| {
            c.dptr = Some(in_capsule(0, 1024))
        }),
        ("Connect with an SGL of type 2", "011h dnr", |c| c.dptr = Some([0x20; 16])),
        ("Connect with 1023 bytes of data", "00fh dnr", |c| c.dptr = Some(at(0x1000, 1, 1023))),
    ];
    for (name, expected, change) in cases {
        table.case(name, expected, connect(target, 0, 0xffff, change));
    }
    let private = connect(target, 0, 0xffff, |c| c.subnqn = target.private_nqn.clone().into());
    table.case("Connect of a host that is not allowed", HOST, private);
    let again = || {
        let mut queue = target.open(0)?;
        let mut wrong = target.connect(0, 0xffff);
        wrong.recfmt = 7;
        let capsule = wrong.capsule(&queue);
        let first = one(&mut queue, capsule)?;
        let right = target.connect(0, 0xffff);
        let capsule = right.capsule(&queue);
        let second = one(&mut queue, capsule)?;
        queue.disconnect()?;
        Ok(format!("{first}, {second}"))
    };
    table.case("Connect again after a refusal", "180h dnr, success", again());
}

/// Sends a Connect command that was changed, on a connection of its own.
fn connect(
    target: &Target,
    qid: u16,
    cntlid: u16,
    change: impl FnOnce(&mut Connect),
) -> Result<String> {
    let mut queue = target.open(qid)?;
    let mut connect = target.connect(qid, cntlid);
    change(&mut connect);
    let capsule = connect.capsule(&queue);
    let answer = one(&mut queue, capsule)?;
    queue.disconnect()?;
    Ok(answer)
}

fn io(target: &Target, table: &mut Table) -> Result<()> {
    let disabled = target.admin()?;
    let early = connect(target, 1, disabled.cntlid, |_| {});
    table.case("Connect of an I/O queue before the controller is enabled", "00ch dnr", early);
    disabled.queue.disconnect()?;
    let live = target.live()?;
    let cntlid = live.admin.cntlid;
    let cases: [(&str, &str, u16, Change); 8] = [
        ("Connect of an I/O queue with CNTLID FFFFh", CNTLID, 2, |c| c.cntlid = 0xffff),
        ("Connect of an I/O queue with CNTLID 0", CNTLID, 2, |c| c.cntlid = 0),
        ("Connect of an I/O queue of an unknown controller", CNTLID, 2, |c| c.cntlid = 0x7777),
        ("Connect of an I/O queue by another host", HOST, 2, |c| c.host.nqn.push(b'x')),
        ("Connect of an I/O queue with another host id", HOST, 2, |c| c.host.id[0] ^= 1),
        ("Connect of I/O queue 200", QID, 200, |_| {}),
        ("Connect of I/O queue 65535", QID, 65535, |_| {}),
        ("Connect of an I/O queue in use", "181h", 1, |_| {}),
    ];
    for (name, expected, qid, change) in cases {
        table.case(name, expected, connect(target, qid, cntlid, change));
    }
    let wrong = connect(target, 2, cntlid, |c| c.subnqn = DISCOVERY_NQN.as_bytes().to_vec());
    table.case("Connect of an I/O queue to another subsystem", CNTLID, wrong);
    let of_discovery = || {
        let mut admin = target.open(0)?;
        let mut hello = target.connect(0, 0xffff);
        hello.subnqn = DISCOVERY_NQN.as_bytes().to_vec();
        admin.send(&crate::command::with_cid(hello.capsule(&admin), 1))?;
        let crate::connection::Answer::Response(cqe) = admin.answer()? else {
            anyhow::bail!("discovery is not answered")
        };
        let cntlid = u16::try_from(cqe.result.get() & 0xffff)?;
        let discovery = |c: &mut Connect| c.subnqn = DISCOVERY_NQN.as_bytes().to_vec();
        let answer = connect(target, 1, cntlid, discovery)?;
        admin.disconnect()?;
        Ok(answer)
    };
    table.case("Connect of an I/O queue to discovery", QID, of_discovery());
    live.disconnect()
}

/// Commands in the wrong order.
fn order(target: &Target, table: &mut Table) {
    let before = |qid, name: &str, table: &mut Table| {
        let answer = || {
            let mut queue = target.open(qid)?;
            let identify = command(opcode::IDENTIFY, 0, keyed(&queue, 4096), [1, 0, 0]);
            let read = command(io::opcode::READ, 1, keyed(&queue, 512), [0; 3]);
            let get = fabrics(fctype::PROPERTY_GET, [0; 16], [0, 0x1c, 0]);
            let answers = [identify, read, get].map(|sqe| one(&mut queue, sqe));
            queue.disconnect()?;
            answers.into_iter().collect::<Result<Vec<_>>>().map(|all| all.join(", "))
        };
        table.case(name, "00ch dnr, 00ch dnr, 00ch dnr", answer());
    };
    before(0, "commands before Connect on an admin queue", table);
    before(1, "commands before Connect on an I/O queue", table);
    let twice = || {
        let mut admin = target.admin()?;
        let connect = target.connect(0, 0xffff).capsule(&admin.queue);
        let answer = one(&mut admin.queue, connect)?;
        admin.queue.disconnect()?;
        Ok(answer)
    };
    table.case("Connect on a connected admin queue", "00ch dnr", twice());
    let disabled = || {
        let mut admin = target.admin()?;
        let identify = command(opcode::IDENTIFY, 0, keyed(&admin.queue, 4096), [1, 0, 0]);
        let answer = one(&mut admin.queue, identify)?;
        admin.queue.disconnect()?;
        Ok(answer)
    };
    table.case("Identify before the controller is enabled", "00ch dnr", disabled());
}
