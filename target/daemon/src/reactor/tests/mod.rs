//! A whole reactor against hosts, disks and devices that behave badly.

mod bed;
mod host;
mod lanes;
mod memory;
