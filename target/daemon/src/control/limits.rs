//! Bounds of the admin socket, with their units.

use std::time::Duration;

/// Permissions of the socket: its owner and its group may ask.
pub const SOCKET_MODE: u32 = 0o660;

/// Permissions of its directory where the daemon has to make it.
pub const DIRECTORY_MODE: u32 = 0o750;

/// Bytes of a request with its newline: the longest of today has about 90.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// Bytes of a response that a client takes. A queue is about 200 bytes of JSON, and the bound on
/// queues is 65536 (13 MiB); the rest is for namespaces: at most 1024 subsystems of a few.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Clients served at the same time; more wait in the kernel's backlog.
pub const CLIENTS_MAX: usize = 64;

/// Connections that the kernel holds while [`CLIENTS_MAX`] are served.
pub const BACKLOG: i32 = 128;

/// Time a client has to send its request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The same while others wait for a place: a flood of silent clients delays an honest one by this
/// for every [`CLIENTS_MAX`] of them.
pub const REQUEST_TIMEOUT_CROWDED: Duration = Duration::from_millis(250);

/// Time a client has to read its response.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause before the next `accept` when one failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Time a client of ours waits for each step: the connection, and all of the response.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often, and with which pause between, the lock on the socket's directory is tried.
pub const LOCK_TRIES: u32 = 40;

/// See [`LOCK_TRIES`].
pub const LOCK_PAUSE: Duration = Duration::from_millis(50);

const _: () = assert!(REQUEST_TIMEOUT_CROWDED.as_millis() < REQUEST_TIMEOUT.as_millis());
