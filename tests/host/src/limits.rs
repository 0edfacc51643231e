//! Bounds of the host, with their units.

use std::time::Duration;

/// A step of the connection manager.
pub(crate) const CM_TIMEOUT: Duration = Duration::from_secs(20);
/// Between a connection's establishment on iWARP and its first message: what the target's siw needs
/// at most to take its socket over.
pub(crate) const ACCEPT_MOMENT: Duration = Duration::from_millis(50);
/// An answer, or the end of a connection. A busy emulated guest can stand still for seconds.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence that is taken as the sign that nothing comes.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
/// Between two looks at the queues.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
/// Receives of a queue: responses that may wait to be looked at.
pub(crate) const RECVS: u32 = 160;
/// Sends of a queue that may be under way.
pub(crate) const SENDS: u32 = 256;
/// Tries to make a controller ready.
pub(crate) const READY_TRIES: u32 = 200;
