//! A destroy that was handed to a reaper can't be run a second time.

use transport::device::Stack;
use transport::reaper::Job;
use transport::time::Now;

fn twice<S: Stack>(job: Job<S>) {
    let clock = Now::default;
    let _ = job.run(&clock);
    let _ = job.run(&clock);
}

fn main() {}
