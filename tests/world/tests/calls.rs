//! Every verb and CM call of a connection's life fails once, on every row.

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

#[test]
fn no_failed_call_leaks_hangs_or_disturbs_others() {
    for row in sim::rows::ALL {
        fail_each_call(row.name);
    }
}
