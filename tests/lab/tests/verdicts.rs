//! The lab's own judgement: what must fail does, and says why. Boots guests, so these are ignored
//! tests (`make test-all`).
#![allow(clippy::unwrap_used, reason = "a test; the lint knows only functions marked as tests")]

use std::fs;
use std::path::Path;

use lab::plan;
use lab::scenario::{Device, Scenario};
use lab::session::Outcome;
use lab::setup::{Accel, Series};

const HEADER: &str = "# title: t\n# needs: nothing\n# group: verdicts\n# timeout: 15 s\n\n";

/// The kernel says "Can't find ext4 filesystem" as an error.
const MOUNT_OF_NOTHING: &str =
    "modprobe brd rd_nr=1 rd_size=1024; modprobe ext4; ! mount -t ext4 /dev/ram0 /mnt";

fn scenario(folder: &Path, name: &str, script: &str) -> Scenario {
    let file = folder.join(format!("{name}.sh"));
    fs::write(&file, format!("{HEADER}{script}\n")).unwrap();
    let mut scenario = Scenario::load(&file).unwrap();
    scenario.devices = vec![Device::Rxe];
    scenario
}

/// Runs the scripts in the order of their names in one batch; what each failed for.
fn verdicts(scripts: &[(&str, &str)]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let scenarios: Vec<Scenario> =
        scripts.iter().map(|(name, script)| scenario(folder.path(), name, script)).collect();
    let cases = plan::cases(&scenarios, &[Series::default()]);
    let mut all = Vec::new();
    for batch in plan::batches(&cases, Accel::Tcg).unwrap() {
        plan::run(&batch, false, |_, outcome| {
            all.push(match outcome.unwrap() {
                Outcome::Passed { .. } => Vec::new(),
                Outcome::Failed { reasons, .. } => reasons,
            });
        });
    }
    all
}

#[track_caller]
fn expect(reasons: &[String], words: &str) {
    assert!(reasons.iter().any(|reason| reason.contains(words)), "{words:?} not in {reasons:?}");
}

#[test]
#[ignore = "boots guests"]
fn every_way_to_fail_is_told_and_spares_the_next_scenario() {
    let verdicts = verdicts(&[
        ("a_fails_by_name", "fail 'the reason'"),
        ("b_fails_by_a_command", "false"),
        ("c_passes", "true"),
        ("d_kernel_warns", MOUNT_OF_NOTHING),
        ("e_allows_its_warning", &format!("allow_warning 'ext4 filesystem'\n{MOUNT_OF_NOTHING}")),
        (
            "f_leaves_a_process",
            "cp \"$(type -P bash)\" /run/fio; setsid /run/fio -c 'sleep 600; :' & pause 0.3",
        ),
        ("g_runs_in_a_fresh_guest", "expect left '' \"$(processes fio)\""),
        ("h_takes_too_long", "sleep 100"),
        ("i_kernel_panics", "echo c >/proc/sysrq-trigger"),
        ("j_passes_after_a_panic", "true"),
    ]);
    expect(&verdicts[0], "the reason");
    expect(&verdicts[1], "b_fails_by_a_command.sh line 6: false");
    expect(&verdicts[3], "find ext4 filesystem");
    expect(&verdicts[5], "left something behind");
    expect(&verdicts[7], "time limit of 15 s");
    expect(&verdicts[8], "Kernel panic");
    for passed in [2, 4, 6, 9] {
        assert_eq!(verdicts[passed], Vec::<String>::new(), "scenario {passed}");
    }
}
