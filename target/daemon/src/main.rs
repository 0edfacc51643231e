//! The `sluice` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Debug builds count allocations: `counters.allocations` of `sluice status -o json`.
#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: sluice::allocations::CountingAllocator = sluice::allocations::CountingAllocator;

fn main() -> ExitCode {
    // A thread that unwinds would drop what a device may still touch, and leave the others waiting
    // for it. The end of the process is safe: the kernel destroys its queue pairs first.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    sluice::cli::main()
}
