//! Writes the binary seeds of the corpus: `cargo run -p fuzz --example seeds` (the text ones are
//! written by hand). Run it again when a form of input changes; what else is in the corpus stays.

use std::path::Path;
use std::{fs, io};

use fuzz::records::{Record, op};
use nvme::admin::{fctype, opcode as admin};
use nvme::io::opcode as io_opcode;
use nvme::rdma::RequestPrivateData;
use nvme::{Cid, HostSgl, Qid, RKey, Sgl, Sqe};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

/// One input of a queue or controller target.
struct Seed(Vec<u8>);

impl Seed {
    fn new(settings: u8) -> Self {
        Self(vec![settings])
    }

    fn step(mut self, op: u8, came: u16, sqe: &Sqe, data: &[u8]) -> Self {
        Record { op, came, sqe: sqe.as_bytes(), data }.write(&mut self.0);
        self
    }

    fn capsule(self, sqe: &Sqe) -> Self {
        self.step(0, 0, sqe, &[])
    }

    fn state(self, which: u8, amount: u16) -> Self {
        self.step(op::STATE, amount, &Sqe::new(which, Cid(0)), &[])
    }
}

fn keyed(len: u32, invalidate: bool) -> [u8; 16] {
    Sgl::Keyed(HostSgl { addr: 0x1000, rkey: RKey(0xabcd), len, invalidate }).emit()
}

fn command(opcode: u8, cid: u16, nsid: u32, dptr: [u8; 16], dwords: [u32; 4]) -> Sqe {
    let mut sqe = Sqe::new(opcode, Cid(cid));
    sqe.nsid = U32::new(nsid);
    sqe.dptr = dptr;
    [sqe.cdw10, sqe.cdw11, sqe.cdw12, sqe.cdw13] = dwords.map(U32::new);
    sqe
}

fn fabrics(fctype: u8, cid: u16, dptr: [u8; 16], dwords: [u32; 4]) -> Sqe {
    command(Sqe::FABRICS, cid, u32::from(fctype), dptr, dwords)
}

fn connect_data(cntlid: u16, subnqn: &str) -> Vec<u8> {
    let mut data = vec![0; 1024];
    data[..16].fill(7);
    data[16..18].copy_from_slice(&cntlid.to_le_bytes());
    data[256..256 + subnqn.len()].copy_from_slice(subnqn.as_bytes());
    let host = b"nqn.2026-01.org.example:host";
    data[512..512 + host.len()].copy_from_slice(host);
    data
}

fn queue_connect(corpus: &Path) -> io::Result<()> {
    let nqn = "nqn.2026-01.org.example:disks";
    let admin = fabrics(fctype::CONNECT, 1, keyed(1024, false), [0, 3, 5000, 0]);
    let data = connect_data(0xffff, nqn);
    write(corpus, "admin", &Seed::new(0).step(0, 0, &admin, &data).0)?;
    write(
        corpus,
        "admin_twice",
        &Seed::new(0)
            .step(op::FAIL | op::HOLD, 0, &admin, &data)
            .capsule(&fabrics(fctype::CONNECT, 2, keyed(1024, false), [0, 3, 0, 0]))
            .0,
    )?;
    let io = fabrics(fctype::CONNECT, 1, keyed(1024, true), [1 << 16, 3, 0, 0]);
    write(corpus, "io", &Seed::new(1).step(0, 0, &io, &connect_data(1, nqn)).0)?;
    let inside = Sgl::InCapsule { offset: 0, len: 1024 }.emit();
    let io = fabrics(fctype::CONNECT, 1, inside, [1 << 16, 3, 0, 0]);
    write(corpus, "io_in_capsule", &Seed::new(1).step(0, 1024, &io, &connect_data(1, nqn)).0)?;
    let early = command(admin::IDENTIFY, 9, 0, keyed(4096, false), [1, 0, 0, 0]);
    write(corpus, "command_before_connect", &Seed::new(0).capsule(&early).0)?;
    write(corpus, "short_capsule", &[0, 0, 0, 0, 0, 0, 0x7f, 0, 1, 0])
}

fn queue_io(corpus: &Path) -> io::Result<()> {
    let read = |cid, lba| command(io_opcode::READ, cid, 1, keyed(512, true), [lba, 0, 0, 0]);
    let inside = Sgl::InCapsule { offset: 0, len: 4096 }.emit();
    let write_in = command(io_opcode::WRITE, 2, 1, inside, [8, 0, 7, 0]);
    let write_out = command(io_opcode::WRITE, 3, 2, keyed(4096, false), [0, 0, 1 << 30, 0]);
    let zeroes = command(io_opcode::WRITE_ZEROES, 4, 1, [0; 16], [0, 0, 63 | 1 << 25, 0]);
    let flush = command(io_opcode::FLUSH, 5, 0xffff_ffff, [0; 16], [0; 4]);
    let dsm = command(io_opcode::DATASET_MANAGEMENT, 6, 1, keyed(32, true), [1, 4, 0, 0]);
    let mut ranges = [0; 32];
    (ranges[4], ranges[8], ranges[20], ranges[24]) = (8, 16, 1, 0xff);
    let all = Seed::new(0)
        .capsule(&read(1, 5))
        .step(0, 4096, &write_in, &[])
        .capsule(&write_out)
        .capsule(&zeroes)
        .capsule(&flush)
        .step(0, 0, &dsm, &ranges);
    write(corpus, "each_command", &all.0)?;
    let held = Seed::new(1)
        .step(op::HOLD, 0, &read(1, 0), &[])
        .step(op::HOLD, 0, &read(2, 1), &[])
        .step(op::HOLD, 0, &read(1, 2), &[])
        .step(op::RELEASE, 0, &read(3, 3), &[])
        .step(op::RELEASE | op::FAIL, 0, &read(1, 2047), &[]);
    write(corpus, "held_and_duplicate", &held.0)?;
    let full = (0..33).fold(Seed::new(0), |seed, cid| seed.step(op::HOLD, 0, &read(cid, 0), &[]));
    write(corpus, "more_than_the_queue", &full.0)?;
    let state = Seed::new(0)
        .step(op::HOLD, 0, &read(1, 0), &[])
        .state(1, 0)
        .capsule(&read(2, 0))
        .state(0, 9)
        .capsule(&read(3, 8));
    write(corpus, "controller_stops_and_shrinks", &state.0)?;
    let limits = Seed::new(0)
        .capsule(&read(1, 2048))
        .capsule(&read(2, 0xffff_ffff))
        .capsule(&command(io_opcode::READ, 3, 3, keyed(512, false), [u32::MAX, u32::MAX, 0, 0]))
        .capsule(&command(io_opcode::WRITE, 4, 3, keyed(512, false), [0; 4]))
        .capsule(&command(0x05, 5, 1, keyed(512, false), [0; 4]));
    write(corpus, "out_of_range_and_refused", &limits.0)
}

fn controller(corpus: &Path) -> io::Result<()> {
    let get = |cid, offset, size| fabrics(fctype::PROPERTY_GET, cid, [0; 16], [size, offset, 0, 0]);
    let cc = |cid, value| fabrics(fctype::PROPERTY_SET, cid, [0; 16], [0, 0x14, value, 0]);
    let identify =
        |cid, cns, nsid| command(admin::IDENTIFY, cid, nsid, keyed(4096, false), [cns, 0, 0, 0]);
    let log = |cid, lid: u32, len: u32| {
        let numd = (len / 4 - 1) << 16;
        command(admin::GET_LOG_PAGE, cid, u32::MAX, keyed(len, true), [lid | numd, 0, 0, 0])
    };
    let feature = |cid, op, fid, value| command(op, cid, 0, keyed(16, false), [fid, value, 0, 0]);
    let event = |cid| command(admin::ASYNC_EVENT_REQUEST, cid, 0, [0; 16], [0; 4]);
    let walk = Seed::new(2)
        .capsule(&get(1, 0, 1))
        .capsule(&get(2, 8, 0))
        .capsule(&cc(3, 0x46_0061))
        .capsule(&get(4, 0x1c, 0))
        .capsule(&identify(5, 1, 0))
        .capsule(&identify(6, 0, 1))
        .capsule(&identify(7, 2, 0))
        .capsule(&identify(8, 3, 1));
    write(corpus, "bring_up", &walk.0)?;
    let logs = [1, 2, 3, 4, 5, 0x12, 0].into_iter().zip(1..);
    let logs = logs.fold(Seed::new(0), |seed, (lid, cid)| seed.capsule(&log(cid, lid, 4096)));
    write(corpus, "log_pages", &logs.0)?;
    let fids = [1, 2, 4, 5, 6, 7, 0x0a, 0x0b, 0x0f, 0x19, 0x81];
    let features = fids.into_iter().zip((1..).step_by(2)).fold(Seed::new(0), |seed, (fid, cid)| {
        seed.capsule(&feature(cid, admin::SET_FEATURES, fid, 1)).capsule(&feature(
            cid + 1,
            admin::GET_FEATURES,
            fid,
            0,
        ))
    });
    write(corpus, "features", &features.0)?;
    let abort = command(admin::ABORT, 9, 0, [0; 16], [2 << 16, 0, 0, 0]);
    let events = (1..6)
        .fold(Seed::new(0), |seed, cid| seed.capsule(&event(cid)))
        .capsule(&abort)
        .capsule(&feature(7, admin::SET_FEATURES, 0x0b, 0x100))
        .state(4, 9)
        .capsule(&log(8, 4, 4096))
        .state(4, 7);
    write(corpus, "events_and_abort", &events.0)?;
    controller_life(corpus)
}

fn controller_life(corpus: &Path) -> io::Result<()> {
    let get = |cid, offset| fabrics(fctype::PROPERTY_GET, cid, [0; 16], [0, offset, 0, 0]);
    let cc = |cid, value| fabrics(fctype::PROPERTY_SET, cid, [0; 16], [0, 0x14, value, 0]);
    let log = |cid, len: u32| {
        let numd = (len / 4 - 1) << 16;
        command(admin::GET_LOG_PAGE, cid, u32::MAX, keyed(len, true), [0x70 | numd, 0, 0, 0])
    };
    let event = command(admin::ASYNC_EVENT_REQUEST, 5, 0, [0; 16], [0; 4]);
    let identify = command(admin::IDENTIFY, 4, 0, keyed(4096, false), [1, 0, 0, 0]);
    let life = Seed::new(0)
        .state(1, 1)
        .state(1, 2)
        .capsule(&cc(1, 0))
        .state(3, 0)
        .capsule(&cc(2, 0x46_0061))
        .state(1, 1)
        .capsule(&cc(3, 0x46_4061))
        .state(3, 0)
        .capsule(&get(4, 0x1c))
        .state(0, 60_000);
    write(corpus, "reset_and_shutdown", &life.0)?;
    let alive = Seed::new(0)
        .state(1, 1)
        .capsule(&command(admin::KEEP_ALIVE, 1, 0, [0; 16], [0; 4]))
        .state(0, 4000)
        .state(2, 1)
        .state(0, 9000)
        .capsule(&get(2, 0x1c))
        .state(5, 0);
    write(corpus, "keep_alive_expires", &alive.0)?;
    let discovery = Seed::new(3)
        .capsule(&cc(1, 0x46_0001))
        .capsule(&log(2, 1024))
        .capsule(&log(3, 2048))
        .capsule(&identify)
        .capsule(&event)
        .state(4, 2);
    write(corpus, "discovery", &discovery.0)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes)
}

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    queue_connect(&corpus.join("queue_connect"))?;
    queue_io(&corpus.join("queue_io"))?;
    controller(&corpus.join("controller"))?;
    for (name, qid, hrqsize, hsqsize) in [("admin", 0, 32, 31), ("io", 1, 128, 127)] {
        let data = RequestPrivateData { qid: Qid(qid), hrqsize, hsqsize, cntlid: 0 }.emit();
        write(&corpus.join("cm_private_data"), name, &[&[128, 0], &data[..]].concat())?;
    }
    write(&corpus.join("authentication"), "null", &[1, 0, 2, 64, 0, 3, 0, 7, 2, 64, 0, 4, 1])?;
    write(&corpus.join("authentication"), "both_ways", &[1, 48, 2, 0, 4, 3, 30, 9, 2, 64, 0])?;
    let key = b"DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:";
    write(&corpus.join("authentication"), "key", key)?;
    write(&corpus.join("sgl"), "keyed", &keyed(4096, false))?;
    write(&corpus.join("sgl"), "keyed_invalidate", &keyed(0xff_ffff, true))?;
    let inside = Sgl::InCapsule { offset: 16, len: 512 }.emit();
    write(&corpus.join("sgl"), "in_capsule", &inside)?;
    for (name, kind) in [("recv", 1_u64), ("send", 2), ("write", 3), ("read", 4), ("stranger", 9)] {
        let raw = kind << 60 | 5 << 46 | 7 << 32 | 0xdead_beef;
        write(&corpus.join("wr_id"), name, &raw.to_le_bytes())?;
    }
    Ok(())
}
