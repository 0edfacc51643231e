//! Bounds of the fuzzing, with their units.

/// Bytes of an input that mutation makes. The longest corpus entry is a few commands.
pub const INPUT_BYTES_MAX: usize = 8192;
/// Steps of one input that are taken: what comes after them is not looked at.
pub const RECORDS_MAX: usize = 256;
/// Mutations stacked on one input, at most.
pub const MUTATIONS_MAX: u32 = 12;
/// Inputs made by mutation that a run of the tests keeps to mutate further, per target.
pub const POOL_MAX: usize = 512;
/// Events that a controller may have after one step.
pub const EVENTS_MAX: usize = 100;
/// Bytes of data that one command of the test export can move.
pub const MDTS_BYTES: u32 = 1 << 17;
