//! Bounds of the lab: nothing waits without end, and the cache does not grow without end.

use std::time::Duration;

/// From starting QEMU to the guest taking orders; seen: 7 s, 57 s at a load of 20 on 2 CPUs.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(180);
/// A guest whose kernel dies before it takes orders is switched on so often at most.
pub const BOOT_TRIES: u32 = 4;
/// A scenario whose header says nothing.
pub const SCENARIO_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// A scenario's own time limit can't be more.
pub const SCENARIO_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The agent cleans up (60 s for disconnects, 30 s for the mapper, 10 s of waiting) and judges
/// after the scenario; a scenario's limit is for the scenario alone.
pub const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(110);
/// When one guest of two has failed, the other may still say why.
pub const OTHER_GUEST_GRACE: Duration = Duration::from_secs(5);
/// From the order to power off to QEMU's end; then it is killed.
pub const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(15);
/// How often guests, requests and results are looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(30);
/// Lines of a guest's console that a failed test prints.
pub const CONSOLE_TAIL_LINES: usize = 60;
/// Bytes of a guest's console that are searched for its last words.
pub const CONSOLE_TAIL_BYTES: u64 = 64 << 10;
/// Folders kept under `.lab/runs`; the oldest go first.
pub const RUNS_KEPT: usize = 40;
/// Virtual CPUs of one guest.
pub const CPUS_MAX: u32 = 8;
/// Scratch disks of one guest.
pub const DISKS_MAX: usize = 8;
/// A scratch disk's size, in MiB: sparse, but a mistake should not fill the machine.
pub const DISK_SIZE_MIB_MAX: u64 = 64 << 10;
/// Bytes that a volatile disk holds back at most; beyond, it writes back on its own as disks do.
pub const VOLATILE_CACHE_BYTES_MAX: usize = 64 << 20;
/// One NBD request's data; QEMU sends at most 32 MiB.
pub const NBD_REQUEST_BYTES_MAX: u32 = 32 << 20;
/// What a link between two guests holds: 64 frames of 1 KiB for each of 64 commands, at 2304
/// bytes of the kernel's memory each.
pub const WIRE_BUFFER_BYTES: usize = 64 * 64 * 2304;
