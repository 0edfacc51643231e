//! Capsules: lengths, command ids, numbers of commands, opcodes, blocks.

use anyhow::Result;
use nvme::admin::{fctype, opcode};
use nvme::{Sqe, io};

use crate::association::{Live, Target, one};
use crate::command::{command, fabrics, in_capsule, keyed, show, with_cid};
use crate::connection::{Answer, Connection};
use crate::limits::ANSWER_TIMEOUT;
use crate::table::Table;

pub(crate) fn run(target: &Target, table: &mut Table) -> Result<()> {
    lengths(target, table);
    numbers(target, table);
    let mut live = target.live()?;
    admin_opcodes(&mut live, table);
    io_commands(&mut live, table);
    table.case("a good read after all that", "success", live.read());
    live.disconnect()
}

/// What a message of so many bytes on a new queue comes to.
fn lengths(target: &Target, table: &mut Table) {
    let cases = [
        ("capsule of 0 bytes on a new admin queue", 0, 0),
        ("capsule of 1 byte on a new admin queue", 0, 1),
        ("capsule of 63 bytes on a new admin queue", 0, 63),
        ("capsule of 65 bytes on an admin queue, which has room for 64", 0, 65),
        ("capsule of 63 bytes on a new I/O queue", 1, 63),
        ("capsule of 4161 bytes on an I/O queue, which has room for 4160", 1, 4161),
        ("capsule of 60000 bytes on an I/O queue", 1, 60_000),
    ];
    for (name, qid, len) in cases {
        let send = |mut queue: Connection| {
            queue.send(&vec![0x7f; len])?;
            let answer = queue.answer().map(show);
            queue.disconnect()?;
            answer
        };
        table.case(name, "closed", target.open(qid).and_then(send));
    }
    let live = || {
        let mut live = target.live()?;
        live.io.send(&[2; 63])?;
        let io = live.io.answer().map(show)?;
        let cc = live.admin.set_cc(0).map(|()| "admin queue lives")?;
        live.disconnect()?;
        Ok(format!("{io}, {cc}"))
    };
    table.case("capsule of 63 bytes on a live I/O queue", "closed, admin queue lives", live());
}

/// Command ids and the number of commands.
fn numbers(target: &Target, table: &mut Table) {
    let event = || command(opcode::ASYNC_EVENT_REQUEST, 0, [0; 16], [0; 3]);
    let duplicate = || {
        let mut admin = target.enabled()?;
        admin.queue.send(&with_cid(event(), 5))?;
        let identify = command(opcode::IDENTIFY, 0, keyed(&admin.queue, 4096), [1, 0, 0]);
        admin.queue.send(&with_cid(identify, 5))?;
        let first = admin.queue.answer().map(show)?;
        admin.queue.send(&with_cid(identify, 6))?;
        let second = admin.queue.answer().map(show)?;
        let waits = if admin.queue.is_silent()? { "first waits" } else { "first was answered" };
        admin.queue.disconnect()?;
        Ok(format!("{first}, {second}, {waits}"))
    };
    table.case(
        "command id of an outstanding command",
        "003h dnr, success, first waits",
        duplicate(),
    );
    let overrun = || {
        let mut queue = target.open(0)?;
        let mut connect = target.connect(0, 0xffff);
        connect.sqsize = 2;
        let capsule = connect.capsule(&queue);
        let first = one(&mut queue, capsule)?;
        let enable = fabrics(fctype::PROPERTY_SET, [0; 16], [0, 0x14, 0x0046_0061]);
        let second = one(&mut queue, enable)?;
        for cid in 0..4 {
            queue.send(&with_cid(event(), 10 + cid))?;
        }
        let answer = queue.answer().map(show);
        queue.disconnect()?;
        Ok(format!("{first}, {second}, {}", answer?))
    };
    table.case("fourth command on a queue of three", "success, success, closed", overrun());
    let events = || {
        let mut admin = target.enabled()?;
        for cid in 0..5 {
            admin.queue.send(&with_cid(event(), cid))?;
        }
        let answer = admin.queue.answer().map(show)?;
        admin.queue.disconnect()?;
        Ok(answer)
    };
    table.case("fifth Asynchronous Event Request", "105h dnr", events());
    table.case("200 reads at once on a queue of 128", "closed or answered", flood(target));
}

fn flood(target: &Target) -> Result<String> {
    let mut live = target.live()?;
    for cid in 0..200 {
        let read = command(io::opcode::READ, 1, keyed(&live.io, 4096), [0, 0, 7]);
        live.io.send(&with_cid(read, cid))?;
    }
    let mut answers = 0;
    let outcome = loop {
        match live.io.next(ANSWER_TIMEOUT)? {
            Answer::Response(cqe) if cqe.status().is_success() => answers += 1,
            Answer::Response(cqe) => break show(Answer::Response(cqe)),
            Answer::Closed => break "closed or answered".to_owned(),
            Answer::Silence => break format!("{answers} answers, then silence"),
        }
        if answers == 200 {
            break "closed or answered".to_owned();
        }
    };
    live.disconnect()?;
    Ok(outcome)
}

/// Opcodes and fields of admin commands.
fn admin_opcodes(live: &mut Live, table: &mut Table) {
    let queue = &mut live.admin.queue;
    let page = keyed(queue, 4096);
    let psdt = |flags| {
        let mut sqe = command(opcode::IDENTIFY, 0, page, [1, 0, 0]);
        sqe.flags = flags;
        sqe
    };
    let log = |len: u32, lid: u32| {
        let numd = (len / 4).wrapping_sub(1);
        let dwords = [lid | (numd & 0xffff) << 16, numd >> 16, 0];
        command(opcode::GET_LOG_PAGE, u32::MAX, page, dwords)
    };
    let cases: [(&str, &str, Sqe); 17] = [
        ("Create I/O Submission Queue", "001h dnr", command(0x01, 0, page, [0; 3])),
        ("Delete I/O Submission Queue", "001h dnr", command(0x00, 0, page, [0; 3])),
        ("admin opcode FFh", "001h dnr", command(0xff, 0, page, [0; 3])),
        ("Format NVM", "001h dnr", command(0x80, 1, page, [0; 3])),
        ("Security Send", "001h dnr", command(0x81, 0, page, [0; 3])),
        ("Identify with PRPs", "002h dnr", psdt(0)),
        ("Identify, fused", "002h dnr", psdt(0x41)),
        ("Identify of structure FFh", "002h dnr", command(opcode::IDENTIFY, 0, page, [0xff, 0, 0])),
        (
            "Identify of namespace FFFFFFFFh",
            "00bh dnr",
            command(opcode::IDENTIFY, u32::MAX, page, [0; 3]),
        ),
        ("Get Log Page of page FEh", "109h dnr", log(4096, 0xfe)),
        ("Get Log Page of 4 GiB in 4 KiB", "00fh dnr", log(0xffff_fffc, 2)),
        ("Get Log Page of 16 GiB", "002h dnr", log(0, 2)),
        (
            "Get Features of feature FFh",
            "002h dnr",
            command(opcode::GET_FEATURES, 0, page, [0xff, 0, 0]),
        ),
        (
            "Set Features of the number of queues while there is one",
            "00ch dnr",
            command(opcode::SET_FEATURES, 0, [0; 16], [7, 0xffff_ffff, 0]),
        ),
        ("Fabrics command FFh", "001h dnr", fabrics(0xff, [0; 16], [0; 3])),
        (
            "Property Get at FFFFFFFCh",
            "002h dnr",
            fabrics(fctype::PROPERTY_GET, [0; 16], [0, 0xffff_fffc, 0]),
        ),
        ("Property Set of CAP", "002h dnr", fabrics(fctype::PROPERTY_SET, [0; 16], [1, 0, 7])),
    ];
    for (name, expected, sqe) in cases {
        table.case(name, expected, one(queue, sqe));
    }
}

/// Opcodes and fields of I/O commands on a namespace of 131072 blocks.
fn io_commands(live: &mut Live, table: &mut Table) {
    let queue = &mut live.io;
    let block = keyed(queue, 512);
    let read = |nsid, lba: u64| {
        let [l0, l1, l2, l3, h0, h1, h2, h3] = lba.to_le_bytes();
        let (low, high) =
            (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([h0, h1, h2, h3]));
        command(io::opcode::READ, nsid, block, [low, high, 0])
    };
    let write_zeroes = command(io::opcode::WRITE_ZEROES, 1, [0; 16], [131_071, 0, 0xffff]);
    let large = command(io::opcode::READ, 1, keyed(queue, 2 << 20), [0, 0, 4095]);
    let fused = Sqe { flags: 0x41, ..read(1, 0) };
    let prp = Sqe { flags: 0, ..read(1, 0) };
    let second = Sqe { flags: 0x42, ..command(io::opcode::WRITE, 1, block, [0; 3]) };
    let cases: [(&str, &str, Sqe); 20] = [
        ("read of the last block", "success", read(1, 131_071)),
        ("read past the end", "080h dnr", read(1, 131_072)),
        ("read at LBA 2^55, whose byte offset wraps", "080h dnr", read(1, 1 << 55)),
        ("read at the last LBA there is", "080h dnr", read(1, u64::MAX)),
        ("read of 2 MiB with an MDTS of 1 MiB", "002h dnr", large),
        ("Write Zeroes over the end", "080h dnr", write_zeroes),
        ("read of namespace 0", "00bh dnr", read(0, 0)),
        ("read of namespace 2", "00bh dnr", read(2, 0)),
        ("read of namespace FFFFFFFFh", "00bh dnr", read(u32::MAX, 0)),
        ("fused read", "002h dnr", fused),
        ("read with PRPs", "002h dnr", prp),
        ("Compare of half a block", "00fh dnr", command(0x05, 1, keyed(queue, 256), [0; 3])),
        ("Copy of two ranges", "183h dnr", command(0x19, 1, block, [0, 0, 1])),
        ("second half of a fused operation alone", "00ah dnr", second),
        ("Write Uncorrectable", "001h dnr", command(0x04, 1, block, [0; 3])),
        ("Reservation Register", "001h dnr", command(0x0d, 1, block, [0; 3])),
        ("I/O opcode FFh", "001h dnr", command(0xff, 1, block, [0; 3])),
        (
            "Property Get on an I/O queue",
            "001h dnr",
            fabrics(fctype::PROPERTY_GET, [0; 16], [0; 3]),
        ),
        ("Connect on a connected I/O queue", "00ch dnr", fabrics(fctype::CONNECT, block, [0; 3])),
        ("Disconnect of an unknown format", "180h dnr", fabrics(0x08, [0; 16], [1, 0, 0])),
    ];
    for (name, expected, sqe) in cases {
        table.case(name, expected, one(queue, sqe));
    }
    let ranges = |count: u32, lba: u64| {
        let mut capsule = with_cid(
            command(
                io::opcode::DATASET_MANAGEMENT,
                1,
                in_capsule(0, 16 * (count + 1)),
                [count, 4, 0],
            ),
            1,
        )
        .to_vec();
        capsule.resize(64 + 16 * 256, 0);
        capsule[64 + 4] = 1;
        capsule[64 + 8..64 + 16].copy_from_slice(&lba.to_le_bytes());
        capsule
    };
    for (name, expected, capsule) in [
        ("deallocation of 256 ranges", "success", ranges(255, 0)),
        ("deallocation past the end", "080h dnr", ranges(0, 131_072)),
        ("deallocation at the last LBA there is", "080h dnr", ranges(0, u64::MAX)),
    ] {
        let got = queue.send(&capsule).and_then(|()| queue.answer().map(show));
        table.case(name, expected, got);
    }
}
