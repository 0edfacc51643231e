//! Data pointers of every wrong form, and keys that are not what they say.

use anyhow::Result;
use nvme::Sqe;
use nvme::io::opcode;

use crate::association::{Target, one};
use crate::command::{at, command, in_capsule, keyed, show, with_cid};
use crate::memory::{DATA_AT, DATA_BYTES};
use crate::table::Table;

pub(crate) fn pointers(target: &Target, table: &mut Table) -> Result<()> {
    let mut live = target.live()?;
    let good = keyed(&live.io, 512);
    let of_kind = |kind| {
        let mut dptr = good;
        dptr[15] = kind;
        dptr
    };
    // Every type and subtype but the three that are supported.
    let mut accepted = Vec::new();
    for kind in (0..=0xff).filter(|kind| ![0x01, 0x40, 0x4f].contains(kind)) {
        let answer = one(&mut live.io, command(opcode::READ, 1, of_kind(kind), [0; 3]))?;
        if answer != "011h dnr" {
            accepted.push(format!("{kind:02x}h: {answer}"));
        }
    }
    table.case("read with each of 253 wrong SGL types", "", Ok(accepted.join(", ")));
    let read = |dptr| command(opcode::READ, 1, dptr, [0; 3]);
    let (addr, rkey) = (live.io.memory.addr(DATA_AT), live.io.rkey());
    let cases: [(&str, &str, Sqe); 9] = [
        ("read of 512 bytes into 511", "00fh dnr", read(at(addr, rkey, 511))),
        ("read of 512 bytes into 513", "00fh dnr", read(at(addr, rkey, 513))),
        ("read of 512 bytes into none", "00fh dnr", read(at(addr, rkey, 0))),
        ("read of 512 bytes into 16 MiB", "00fh dnr", read(at(addr, rkey, 0xff_ffff))),
        ("read into the capsule", "002h dnr", read(in_capsule(0, 512))),
        (
            "write of 512 bytes from 511",
            "00fh dnr",
            command(opcode::WRITE, 1, at(addr, rkey, 511), [0; 3]),
        ),
        (
            "write with an SGL that asks to invalidate",
            "success",
            command(opcode::FLUSH, 1, of_kind(0x4f), [0; 3]),
        ),
        (
            "deallocation of 2 ranges in 16 bytes",
            "00fh dnr",
            command(opcode::DATASET_MANAGEMENT, 1, at(addr, rkey, 16), [1, 4, 0]),
        ),
        (
            "deallocation with an SGL of type Fh",
            "011h dnr",
            command(opcode::DATASET_MANAGEMENT, 1, of_kind(0xf0), [0, 4, 0]),
        ),
    ];
    for (name, expected, sqe) in cases {
        table.case(name, expected, one(&mut live.io, sqe));
    }
    // In-capsule data: where it says it is, and how many bytes really came.
    let cases: [(&str, &str, u64, u32, usize); 10] = [
        ("write with its data in the capsule", "success", 0, 512, 512),
        ("write with its data at offset 512", "success", 512, 512, 1024),
        ("write with its data at an odd offset", "success", 3, 512, 1024),
        ("write whose data did not come", "016h dnr", 0, 512, 0),
        ("write whose data came but for one byte", "016h dnr", 0, 512, 511),
        ("write with its data behind what came", "016h dnr", 1, 512, 512),
        ("write with its data behind the capsule's room", "016h dnr", 4096, 512, 4096),
        ("write with an offset of 2^32", "016h dnr", 1 << 32, 512, 512),
        ("write with an offset that wraps to 0", "016h dnr", u64::MAX - 511, 512, 512),
        ("write of 512 bytes from 1024 in the capsule", "00fh dnr", 0, 1024, 1024),
    ];
    for (name, expected, offset, len, came) in cases {
        let mut capsule =
            with_cid(command(opcode::WRITE, 1, in_capsule(offset, len), [64, 0, 0]), 1).to_vec();
        capsule.resize(64 + came, 0xab);
        let got = live.io.send(&capsule).and_then(|()| live.io.answer().map(show));
        table.case(name, expected, got);
    }
    table.case("a good read after all that", "success", live.read());
    live.disconnect()
}

/// The device refuses these, not the protocol: the connection ends, and only that one.
pub(crate) fn keys(target: &Target, table: &mut Table) -> Result<()> {
    type Claim = fn(u64, u32) -> (u64, u32);
    let cases: [(&str, u8, Claim); 7] = [
        ("write from a key that nobody has", opcode::WRITE, |addr, rkey| {
            (addr, rkey ^ 0x5a5a_5a00)
        }),
        ("read into a key that nobody has", opcode::READ, |addr, rkey| (addr, rkey ^ 0x5a5a_5a00)),
        ("write from key 0", opcode::WRITE, |addr, _| (addr, 0)),
        ("read into key FFFFFFFFh", opcode::READ, |addr, _| (addr, u32::MAX)),
        ("write from address 0", opcode::WRITE, |_, rkey| (0, rkey)),
        ("read over the end of the region", opcode::READ, |addr, rkey| {
            (addr + DATA_BYTES as u64 - 256, rkey)
        }),
        ("write from the end of the address space", opcode::WRITE, |_, rkey| {
            (u64::MAX - 255, rkey)
        }),
    ];
    for (name, opcode, claim) in cases {
        let run = || {
            let mut live = target.live()?;
            let (addr, rkey) = claim(live.io.memory.addr(DATA_AT), live.io.rkey());
            let answer = one(&mut live.io, command(opcode, 1, at(addr, rkey, 512), [0; 3]))?;
            live.admin.set_cc(0)?;
            live.disconnect()?;
            Ok(answer)
        };
        table.case(name, "closed", run());
    }
    let connect = || {
        let mut queue = target.open(0)?;
        let mut connect = target.connect(0, 0xffff);
        connect.dptr = Some(at(queue.memory.addr(DATA_AT), queue.rkey() ^ 0x5a5a_5a00, 1024));
        let capsule = connect.capsule(&queue);
        let answer = one(&mut queue, capsule)?;
        queue.disconnect()?;
        Ok(answer)
    };
    table.case("Connect with its data under a key that nobody has", "closed", connect());
    let identify = || {
        let mut admin = target.enabled()?;
        let to = at(admin.queue.memory.addr(DATA_AT), admin.queue.rkey() ^ 0x5a5a_5a00, 4096);
        let identify = command(nvme::admin::opcode::IDENTIFY, 0, to, [1, 0, 0]);
        let answer = one(&mut admin.queue, identify)?;
        admin.queue.disconnect()?;
        Ok(answer)
    };
    table.case("Identify into a key that nobody has", "closed", identify());
    Ok(())
}
