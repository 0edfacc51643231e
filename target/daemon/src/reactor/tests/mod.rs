//! A whole reactor against hosts, disks and devices that behave badly.

mod admission;
mod authentication;
mod bed;
mod compare;
mod disks;
mod host;
mod lanes;
mod memory;
