//! Every bound of this crate, with its unit.

/// Operations an engine accepts at once when nothing else is asked for (count).
pub const QUEUE_DEPTH_DEFAULT: u32 = 256;

/// Most operations one engine may be asked to hold (count).
pub const QUEUE_DEPTH_MAX: u32 = 4096;

/// Completions appended by one call of `poll` (count), so that a fast disk can't starve a tick.
pub const COMPLETION_BATCH_MAX: usize = 64;

/// Disks one engine can know at once (count): the size of its table of registered files.
pub const DISKS_MAX: u32 = 1024;

/// Entries of a ring's sparse table of registered buffers (count).
///
/// One region takes one entry per started [`REGION_ENTRY_BYTES_MAX`].
pub const REGION_ENTRIES_MAX: u16 = 256;

/// Most bytes in one registered buffer (bytes): the kernel's limit, `man io_uring_register`.
pub const REGION_ENTRY_BYTES_MAX: usize = 1 << 30;

/// Most bytes moved by one step of an operation (bytes); longer requests take several steps.
///
/// A multiple of every block size, and below the kernel's own cut at `0x7fff_f000`.
pub const STEP_BYTES_MAX: usize = 128 << 20;

/// Most bytes zeroed or discarded by one step of an operation (bytes).
pub const RANGE_STEP_BYTES_MAX: u64 = 1 << 30;

/// Size of one bounce buffer (bytes), used when a request's memory is not aligned for direct I/O.
pub const BOUNCE_BYTES: usize = 256 << 10;

/// Bounce buffers an engine keeps for reuse (count); more are allocated and freed at need.
pub const BOUNCE_KEPT_MAX: usize = 32;

/// Bytes written by one step where zeroes must be written out (bytes).
pub const ZERO_REGION_BYTES: usize = 1 << 20;

/// Steps of one operation in a row that made no progress (short by less than a block, `EINTR`,
/// `EAGAIN`) before it fails (count).
pub const IDLE_STEPS_MAX: u32 = 16;

/// How long a dropped engine waits for operations in flight (milliseconds) before it leaks them.
pub const DROP_PATIENCE_MS: u64 = 4_000;

/// How long opening a disk waits for its last user to let go (milliseconds).
///
/// The kernel closes the rings of a process that was killed some time after it, and a daemon that
/// is restarted at once would find its own disks in use.
pub const IN_USE_PATIENCE_MS: u64 = 1_000;

/// How often it looks in that time (milliseconds).
pub const IN_USE_RETRY_MS: u64 = 20;

/// Submissions tried by one `flush_submissions` (count).
pub const SUBMIT_ROUNDS_MAX: u32 = 8;

/// Worker threads of a thread engine when nothing else is asked for (count).
pub const WORKERS_DEFAULT: usize = 8;

/// Most worker threads of a thread engine (count).
pub const WORKERS_MAX: usize = 64;

/// Smallest and largest block a disk may have (bytes).
pub const BLOCK_SIZE_MIN: u32 = 512;
/// See [`BLOCK_SIZE_MIN`].
pub const BLOCK_SIZE_MAX: u32 = 4096;

/// Largest alignment asked of direct I/O that is served (bytes).
pub const DIRECT_ALIGN_MAX: usize = 4096;

const _: () = assert!(QUEUE_DEPTH_DEFAULT <= QUEUE_DEPTH_MAX);
const _: () = assert!(STEP_BYTES_MAX.is_multiple_of(BLOCK_SIZE_MAX as usize));
const _: () = assert!(STEP_BYTES_MAX < 0x7fff_f000);
const _: () = assert!(BOUNCE_BYTES.is_multiple_of(DIRECT_ALIGN_MAX));
const _: () = assert!(ZERO_REGION_BYTES.is_multiple_of(BLOCK_SIZE_MAX as usize));
const _: () = assert!(REGION_ENTRY_BYTES_MAX.is_multiple_of(DIRECT_ALIGN_MAX));
