//! Every bound of the protocol core, with its unit and the reason for it.

/// Bytes of a submission queue entry (NVMe Base 2.0 §3.3.3.1); the shortest command capsule.
pub const SQE_BYTES: usize = 64;
/// Bytes of a completion queue entry (NVMe Base 2.0 §3.3.3.2); our only response capsule.
pub const CQE_BYTES: usize = 16;
/// Bytes of the Connect command's data (NVMe-oF 1.1 §3.3).
pub const CONNECT_DATA_BYTES: u32 = 1024;
/// Bytes of every Identify data structure (NVMe Base 2.0 §5.17).
pub const IDENTIFY_BYTES: u32 = 4096;
/// Bytes of an NQN's text without its terminator (NVMe Base 2.0, NVMe Qualified Names).
pub const NQN_BYTES_MAX: usize = 223;
/// Bytes of an NQN field on the wire.
pub const NQN_FIELD_BYTES: usize = 256;
/// Entries of the admin queue that a fabrics host may ask for (NVMe-oF 1.1 §7.3).
pub const ADMIN_QUEUE_ENTRIES_MAX: u16 = 32;
/// Smallest and largest dynamic controller id (NVMe-oF 1.1 §4; FFF0h and up are reserved).
pub const CNTLID_MIN: u16 = 1;
/// Largest controller id.
pub const CNTLID_MAX: u16 = 0xffef;
/// Namespace ids at or above this are never those of a namespace.
pub const NSID_MAX: u32 = 0xffff_fffd;
/// Namespaces that a controller announces room for (MNAN) when it has fewer.
pub const NAMESPACES_MIN: u32 = 1024;
/// Entries of a namespace list: 4096 bytes of 4-byte ids.
pub const NSID_LIST_ENTRIES: usize = 1024;
/// Ranges of one Dataset Management command (NVM Command Set 1.0 §3.2.3; NR is 8 bits, 0's based).
pub const DSM_RANGES_MAX: u16 = 256;
/// Bytes of one Dataset Management range.
pub const DSM_RANGE_BYTES: u32 = 16;
/// Bytes that a Dataset Management command can make us fetch.
pub const DSM_BYTES_MAX: u32 = DSM_RANGES_MAX as u32 * DSM_RANGE_BYTES;
/// Blocks of a fused Compare and Write, which is atomic against every other write (ACWU, 0's based
/// there).
pub const COMPARE_AND_WRITE_BLOCKS_MAX: u16 = 32;
/// Bytes of a Compare: the host's and the disk's lie in one buffer of at most 4 MiB.
pub const COMPARE_BYTES_MAX: u64 = 2 << 20;
/// Ranges of a Copy command (MSRC, 0's based there).
pub const COPY_RANGES_MAX: u8 = 1;
/// Bytes of one source range of a Copy command in format 0 (NVM Command Set 1.0 §3.2.2).
pub const COPY_RANGE_BYTES: u32 = 32;
/// Entries of the Error Information log page; Identify says one less (ELPE).
pub const ERROR_LOG_ENTRIES: usize = 64;
/// Bytes of one of them (NVMe Base 2.0 §5.16.1.2).
pub const ERROR_LOG_ENTRY_BYTES: u64 = 64;
/// Asynchronous Event Requests that may wait at one controller.
pub const ASYNC_EVENT_REQUESTS_MAX: usize = 4;
/// Abort Command Limit, 0's based as Identify says it. Every Abort is answered at once.
pub const ABORT_LIMIT: u8 = 3;
/// Granularity of the keep-alive timer in units of 100 ms (KAS); Linux refuses 0.
pub const KEEP_ALIVE_GRANULARITY: u16 = 10;
/// The same in milliseconds.
pub const KEEP_ALIVE_GRANULARITY_MS: u32 = KEEP_ALIVE_GRANULARITY as u32 * 100;
/// Seconds without a command after which a discovery controller without keep-alive is ended.
pub const DISCOVERY_IDLE_MS: u32 = 120_000;
/// Worst case for CSTS.RDY to follow CC.EN, in units of 500 ms (CAP.TO): 15 s for the I/O queues
/// of a disabled controller to end.
pub const READY_TIMEOUT_500MS: u8 = 30;
/// The same in milliseconds.
pub const READY_TIMEOUT_MS: u32 = READY_TIMEOUT_500MS as u32 * 500;
/// Time that a shutdown may take before the controller is declared failed, in milliseconds.
pub const SHUTDOWN_TIMEOUT_MS: u32 = 60_000;
/// Time that a shut down controller without keep-alive waits for its host to disconnect.
pub const SHUTDOWN_LINGER_MS: u32 = 120_000;
/// Smallest memory page (CAP.MPSMIN 0): the unit of MDTS, in bytes.
pub const PAGE_BYTES: u32 = 4096;
/// Largest keyed SGL length, in bytes: 24 bits.
pub const KEYED_LENGTH_MAX: u32 = 0x00ff_ffff;
/// Bytes of CM private data that NVMe/RDMA defines, each way (NVMe-oF 1.1 §7.3).
pub const CM_PRIVATE_DATA_BYTES: usize = 32;
/// Bytes of a message of an authentication: ffdhe8192 with SHA-512 takes 1168.
pub const AUTH_BYTES_MAX: u32 = 4096;
/// Time for one authentication of a queue, from its Connect or, later, its Negotiate, in
/// milliseconds: as long as a host waits for one command. Powers of 8192 bits take a slow host
/// seconds.
pub const AUTH_TIMEOUT_MS: u32 = 60_000;
/// Time for a host to fetch the failure of its authentication, in milliseconds.
pub const AUTH_FAILED_LINGER_MS: u32 = 2_000;
/// Bytes of a discovery log page's header, and of one entry.
pub const DISCOVERY_ENTRY_BYTES: u64 = 1024;

const _: () = assert!(DSM_BYTES_MAX == 4096);
const _: () = assert!(ERROR_LOG_ENTRIES <= 256, "ELPE has 8 bits");
const _: () = assert!(CNTLID_MIN <= CNTLID_MAX);
const _: () = assert!(NSID_LIST_ENTRIES * 4 == IDENTIFY_BYTES as usize);
const _: () = assert!(ASYNC_EVENT_REQUESTS_MAX < ADMIN_QUEUE_ENTRIES_MAX as usize);
