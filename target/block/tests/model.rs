//! Every engine on every kind of disk against a vector of bytes.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bed::{BOTH, Bench, Dice, POISON, RegionMemory, TestBuf, engine_of, every_kind, run_all};
use block::{Engine, EngineKind, Request, SystemEngine};

const DISK_BYTES: u64 = 4 << 20;
const ROUNDS: u32 = 60;
const LANES: u64 = 8;

/// What the disk should hold; `None` where it may hold anything (after a discard).
struct Model {
    bytes: Vec<Option<u8>>,
    keeps_data: bool,
    discard: bool,
    discard_zeroes: bool,
}

enum Expected {
    Bytes { at: usize, len: usize, spare: usize },
    Nothing,
}

impl Model {
    fn set(&mut self, at: usize, data: impl ExactSizeIterator<Item = Option<u8>>) {
        if self.keeps_data {
            let end = at + data.len();
            for (place, byte) in self.bytes[at..end].iter_mut().zip(data) {
                *place = byte;
            }
        }
    }

    fn check(&self, at: usize, found: &[u8], say: &str) {
        for (index, byte) in found.iter().enumerate() {
            if let Some(wanted) = self.bytes[at + index] {
                assert_eq!(*byte, wanted, "{say}: byte {} of the disk", at + index);
            }
        }
    }
}

struct Run<'a> {
    bench: &'a Bench,
    engine: SystemEngine<TestBuf>,
    region: RegionMemory,
    dice: Dice,
    model: Model,
    drops: Arc<AtomicUsize>,
    made: usize,
    expected: Vec<Expected>,
}

impl Run<'_> {
    /// A buffer with a few bytes to spare: in the region, at an odd address, or aligned.
    fn buffer(&mut self, len: usize) -> (TestBuf, usize) {
        let spare = usize::try_from(self.dice.below(3)).unwrap() * 512;
        self.made += 1;
        let buf = match self.dice.below(4) {
            0 | 1 => self.region.take(len + spare, &self.drops),
            2 => TestBuf::new(len + spare, 8, &self.drops),
            _ => TestBuf::new(len + spare, 0, &self.drops),
        };
        (buf, spare)
    }

    /// One request within `base..base + room`, whose effect on the model is noted at once: the
    /// requests of a round don't overlap.
    fn request(&mut self, base: u64, room: u64, block: u64) -> (Request<TestBuf>, Expected) {
        let blocks = room / block;
        let first = self.dice.below(blocks);
        let most = if self.dice.below(8) == 0 { blocks } else { 16 };
        let count = 1 + self.dice.below((blocks - first).min(most));
        let (offset_bytes, bytes) = (base + first * block, count * block);
        let (at, len) = (usize::try_from(offset_bytes).unwrap(), usize::try_from(bytes).unwrap());
        let fua = self.dice.below(8) == 0;
        match self.dice.below(10) {
            0..4 => {
                let (buf, spare) = self.buffer(len);
                (Request::Read { buf, len, offset_bytes }, Expected::Bytes { at, len, spare })
            }
            4..7 => {
                let (mut buf, _) = self.buffer(len);
                let mut pattern = Dice::new(self.dice.next());
                let data: Vec<u8> = (0..len).map(|_| pattern.next().to_le_bytes()[3]).collect();
                buf.bytes_mut()[..len].copy_from_slice(&data);
                self.model.set(at, data.into_iter().map(Some));
                (Request::Write { buf, len, offset_bytes, fua }, Expected::Nothing)
            }
            7 => {
                let unmap = self.dice.below(2) == 0;
                self.model.set(at, (0..len).map(|_| Some(0)));
                (Request::WriteZeroes { len: bytes, offset_bytes, unmap, fua }, Expected::Nothing)
            }
            8 => {
                let after = self.model.discard_zeroes.then_some(0);
                if self.model.discard {
                    self.model.set(at, (0..len).map(|_| after));
                }
                (Request::Discard { len: bytes, offset_bytes }, Expected::Nothing)
            }
            _ => (Request::Flush, Expected::Nothing),
        }
    }

    fn round(&mut self, say: &str) {
        let block = u64::from(self.bench.disk.geometry().block_size);
        let room = DISK_BYTES / LANES;
        self.expected.clear();
        for lane in 0..LANES {
            let (request, expected) = self.request(lane * room, room, block);
            self.expected.push(expected);
            let disk = &self.bench.disk;
            assert!(self.engine.submit(disk, lane, request).is_ok(), "{say}: refused");
        }
        let completions = run_all(&mut self.engine);
        assert_eq!(completions.len(), self.expected.len(), "{say}: answers");
        let mut answered = vec![false; self.expected.len()];
        for completion in completions {
            let lane = usize::try_from(completion.token).unwrap();
            assert!(!std::mem::replace(&mut answered[lane], true), "{say}: answered twice");
            assert_eq!(completion.result, Ok(()), "{say}");
            if let Expected::Bytes { at, len, spare } = self.expected[lane] {
                let buf = completion.buf.expect("a read gives its buffer back");
                assert_eq!(buf.bytes().len(), len + spare);
                self.model.check(at, &buf.bytes()[..len], say);
                assert!(buf.bytes()[len..].iter().all(|byte| *byte == POISON), "{say}: beyond");
            }
        }
        self.region.rewind();
    }
}

fn run(bench: &Bench, kind: EngineKind, seed: u64) {
    let mut engine = engine_of(kind, 16);
    let mut region = RegionMemory::new(12 << 20);
    region.register(&mut engine);
    let features = bench.disk.geometry().features;
    let model = Model {
        bytes: vec![Some(0); usize::try_from(DISK_BYTES).unwrap()],
        keeps_data: bench.keeps_data,
        discard: features.discard,
        discard_zeroes: features.discard_zeroes,
    };
    let drops = Arc::new(AtomicUsize::new(0));
    let dice = Dice::new(seed);
    let expected = Vec::new();
    let mut run = Run { bench, engine, region, dice, model, drops, made: 0, expected };
    for round in 0..ROUNDS {
        run.round(&format!("{}, {kind:?}, seed {seed}, round {round}", bench.name));
    }
    assert_eq!(run.drops.load(Ordering::SeqCst), run.made, "each buffer came back once");
    run.engine.submit(&bench.disk, 0, Request::Flush).ok().unwrap();
    run_all(&mut run.engine);
    if let Some(path) = &bench.file {
        let stored = std::fs::read(path).unwrap();
        run.model.check(0, &stored, &format!("{}, {kind:?}, seed {seed}, the file", bench.name));
    }
}

#[test]
fn every_engine_and_disk_agrees_with_a_vector() {
    for kind in BOTH {
        for seed in 1..=3 {
            // A new set of disks each time: the model begins with zeroes.
            for bench in every_kind(DISK_BYTES) {
                run(&bench, kind, seed);
            }
        }
    }
    assert_eq!(block::leaked_operations(), 0);
}
