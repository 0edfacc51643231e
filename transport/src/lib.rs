//! How Sluice speaks RDMA: the device seam, ownership of what a device may touch, and the drain.
pub mod device;
