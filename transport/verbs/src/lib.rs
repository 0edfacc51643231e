//! The real RDMA stack: [`transport::device`]'s traits on librdmacm and libibverbs.
//!
//! What holds throughout:
//! - Only classic verbs; `rdma-sys` is named in one file and nothing of it leaves the crate.
//! - Every descriptor is nonblocking and closed on exec. Nothing here blocks but `destroy`,
//!   `disconnect`, the drop of an id or listener (kernel calls that may sleep) and the active side
//!   in [`resolve`] and [`connect`].
//! - Every event is copied and acknowledged where it is read, so no destroy waits for its own
//!   thread.
//! - A handle holds what it depends on. A destroy that fails is counted, logged and leaves the
//!   object and what it depends on in place until the process ends: [`leaks`].

mod address;
mod cm_id;
mod completion;
mod connect;
mod device;
mod errors;
mod events;
mod ffi;
mod leaks;
pub mod limits;
pub mod probe;
mod queue_pair;
mod region;
mod shared_receives;
mod stack;

pub use cm_id::Id;
pub use completion::Cq;
pub use connect::{ConnectError, ConnectParams, connect, resolve};
pub use device::{Device, removed_in_use};
pub use errors::OpenError;
pub use leaks::{Leaks, leaked_queue_pairs, leaks, quarantined};
pub use queue_pair::Qp;
pub use region::{Mr, Pd};
pub use shared_receives::Srq;
pub use stack::{Listener, Verbs};
