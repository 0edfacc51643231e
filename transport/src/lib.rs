//! How Sluice speaks RDMA: the device seam, ownership of what a device may touch, and the drain.
pub mod caps;
pub mod cause;
pub mod connection;
pub mod device;
pub mod drain;
pub mod in_flight;
pub mod lane;
pub mod lessons;
pub mod limits;
pub mod marker;
pub mod pool;
pub mod proof;
pub mod reaper;
pub mod report;
pub mod shared_receives;
pub mod time;
pub mod wr;

mod buddy;
