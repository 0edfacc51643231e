//! Seeds: two hundred runs, each in a process with few others, and that a run is its seed.

use std::process::Command;

/// Runs that a test plays: every row of the table of providers at least eleven times.
const SEEDS: &str = "0..200";

#[test]
fn no_seed_loses_data_memory_or_an_answer() {
    let played = Command::new(env!("CARGO_BIN_EXE_world"))
        .args(["--seeds", SEEDS])
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}\n{}", String::from_utf8_lossy(&played.stderr));
}

#[test]
fn the_same_seed_gives_the_same_trace_twice() {
    for seed in [3, 20, 57] {
        let (once, twice) = (world::run(seed, true), world::run(seed, true));
        let differs = once.trace.iter().zip(&twice.trace).position(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}: from line {differs:?} on");
        assert_eq!(once, twice, "seed {seed}");
        assert!(once.trace.len() > 100, "seed {seed}: a trace of nothing shows nothing");
    }
}
