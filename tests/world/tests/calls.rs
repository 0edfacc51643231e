//! Every verb and CM call of a connection's life fails once, on rows of each kind; `make sim` does
//! it on all of them.

use std::process::Command;

fn fail_each_call(row: &str) {
    let played = Command::new(env!("CARGO_BIN_EXE_world"))
        .args(["--calls", row])
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}");
    // A run of no calls shows nothing.
    let counted = said.split_whitespace().nth(1).and_then(|count| count.parse::<u32>().ok());
    assert!(counted.is_some_and(|count| count > 30), "{said}");
}

/// Software and hardware, RoCE and iWARP, shared lanes and private ones, with and without order.
const ROWS: [&str; 7] =
    ["rxe-6.1", "siw-6.12", "mlx5", "cxgb4", "irdma-roce", "qedr-roce", "unknown-iwarp"];

#[test]
fn no_failed_call_leaks_hangs_or_disturbs_others() {
    for row in ROWS {
        fail_each_call(row);
    }
}
