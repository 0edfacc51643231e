//! Layouts on the wire and what they mean.

pub mod cqe;
pub mod discovery;
pub mod identify;
pub mod page;
pub mod refusal;
pub mod sgl;
pub mod sqe;
pub mod status;

pub use cqe::Cqe;
pub use page::Page;
pub use refusal::{Location, Refusal};
pub use sgl::{HostSgl, Sgl};
pub use sqe::Sqe;
pub use status::Status;
