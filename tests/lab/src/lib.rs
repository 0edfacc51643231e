//! The lab: QEMU guests with real RDMA (`rdma_rxe` and `siw` of Debian's kernels), in which
//! scenarios drive the daemon with the kernel's own initiators.
//!
//! A [`scenario`] is a bash file with a header. A [`plan`] puts the scenarios that share a boot
//! into batches; a [`session`] is one boot of one or two [`guest`]s, in which it runs them one
//! after the other and is their power switch. See `README.md` of this folder.
#![forbid(unsafe_code)]

pub mod cache;
pub mod disk;
pub mod guest;
pub mod image;
pub mod limits;
mod nbd;
pub mod needs;
pub mod plan;
pub mod scenario;
pub mod session;
pub mod setup;
pub mod share;
pub mod shell;
mod tsc;
pub mod volatile_disk;
