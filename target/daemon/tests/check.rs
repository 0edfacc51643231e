//! `sluice check`, `sluice version` and wrong usage, as a script sees them.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod support;

use serde_json::Value;
use support::*;
use tempfile::TempDir;

const GOOD: &str = r#"
state_dir = "@"
control_socket = "@/control.sock"

[[listener]]
name = "fabric-a"
transport = "rdma"
address = "192.0.2.10"

[[subsystem]]
nqn = "nqn.2014-08.org.example:disk"
allow_any_host = true

[[subsystem.namespace]]
nsid = 1
ram = "64 MiB"
"#;

fn good(directory: &TempDir) -> String {
    GOOD.replace('@', text(directory.path()))
}

#[test]
fn a_good_file_is_summed_up_on_stdout() {
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "good.toml", &good(&directory));
    let output = sluice(&["check", text(&file)]);
    assert_silent_stderr(&output, 0);
    let expected = format!("{} is valid: 1 listener, 1 subsystem, 1 namespace\n", file.display());
    assert_eq!(stdout(&output), expected);
    let named = sluice(&["check", "--config", text(&file)]);
    assert_silent_stderr(&named, 0);
    assert_eq!(stdout(&named), expected);
}

#[test]
fn a_bad_file_shows_every_error_on_stderr() {
    let directory = TempDir::new().unwrap();
    let bad = good(&directory)
        .replace("ram = \"64 MiB\"", "ram = 64")
        .replace("nsid = 1", "nsid = 0")
        .replace("allow_any_host", "alow_any_host")
        .replace("192.0.2.10", "192.0.2.300");
    let file = write(&directory, "bad.toml", &bad);
    let output = sluice(&["check", text(&file)]);
    assert_silent_stdout(&output, 3);
    for (line, word) in [(8, "192.0.2.300"), (12, "alow_any_host"), (15, "nsid"), (16, "ram")] {
        let place = format!("{}:{line}:", file.display());
        assert!(stderr(&output).contains(&place), "no {place} in {}", stderr(&output));
        assert!(stderr(&output).contains(word), "no {word} in {}", stderr(&output));
    }
}

#[test]
fn what_is_missing_on_the_machine_makes_a_file_invalid() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().join("absent.img");
    let named = good(&directory).replace("ram = \"64 MiB\"", &format!("file = {:?}", text(&disk)));
    let file = write(&directory, "absent.toml", &named);
    let output = sluice(&["check", text(&file)]);
    assert_silent_stdout(&output, 3);
    assert!(stderr(&output).contains(text(&disk)), "{}", stderr(&output));
    let file = write(&directory, "both.toml", &named.replace("nsid = 1", "nsid = 0"));
    let output = sluice(&["check", text(&file)]);
    assert_silent_stdout(&output, 3);
    for part in [text(&disk), "nsid", "2 errors"] {
        assert!(stderr(&output).contains(part), "no {part} in {}", stderr(&output));
    }
    let file = write(&directory, "absent.toml", &named);
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    assert_silent_stderr(&sluice(&["check", text(&file)]), 0);
}

#[test]
fn a_warning_is_told_and_is_no_failure() {
    let directory = TempDir::new().unwrap();
    let nobody = good(&directory).replace("allow_any_host = true", "hosts = []");
    let file = write(&directory, "nobody.toml", &nobody);
    let output = sluice(&["check", text(&file)]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("warning"), "{}", stderr(&output));
    assert!(stdout(&output).contains("is valid"), "{}", stdout(&output));
}

#[test]
fn json_is_all_on_stdout_and_keeps_the_exit_code() {
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "good.toml", &good(&directory));
    let output = sluice(&["check", "-o", "json", text(&file)]);
    assert_silent_stderr(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["valid"], true);
    assert_eq!(report["diagnostics"].as_array().unwrap().len(), 0);

    let bad = good(&directory).replace("nsid = 1", "nsid = 0\ncolour = 1");
    let file = write(&directory, "bad.toml", &bad);
    let output = sluice(&["check", "-o", "json", text(&file)]);
    assert_silent_stderr(&output, 3);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"], 2);
    let keys: Vec<_> =
        report["diagnostics"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
    assert_eq!(keys, ["subsystem[0].namespace[0].nsid", "subsystem[0].namespace[0].colour"]);
    assert_eq!(report["diagnostics"][0]["line"], 15);
}

#[test]
fn an_unreadable_or_binary_file_is_invalid() {
    let directory = TempDir::new().unwrap();
    let absent = directory.path().join("absent.toml");
    assert_silent_stdout(&sluice(&["check", text(&absent)]), 3);
    assert_silent_stdout(&sluice(&["check", text(directory.path())]), 3);
    let binary = directory.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00, 0x80]).unwrap();
    assert_silent_stdout(&sluice(&["check", text(&binary)]), 3);
}

#[test]
fn serve_starts_nothing_with_an_invalid_file() {
    let directory = TempDir::new().unwrap();
    let bad = good(&directory).replace("nsid = 1", "nsid = 0");
    let file = write(&directory, "bad.toml", &bad);
    let output = sluice(&["serve", "--config", text(&file)]);
    assert_silent_stdout(&output, 3);
    assert!(stderr(&output).contains("nsid"), "{}", stderr(&output));
    assert!(!directory.path().join("control.sock").exists());
}

#[test]
fn serve_fails_when_its_disk_is_absent() {
    let directory = TempDir::new().unwrap();
    let named = good(&directory).replace("ram = \"64 MiB\"", "file = \"/absent/disk.img\"");
    let file = write(&directory, "absent.toml", &named);
    let output = sluice(&["serve", "--config", text(&file)]);
    assert_silent_stdout(&output, 1);
    assert!(stderr(&output).contains("/absent/disk.img"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    for arguments in [
        &[][..],
        &["export"],
        &["check", "--no-such-option"],
        &["check", "-o", "yaml", "x"],
        &["status", "--socket", "/a", "--config", "/b"],
        &["serve", "stray"],
        &["check", "/a", "--config", "/b"],
    ] {
        assert_silent_stdout(&sluice(arguments), 2);
    }
}

#[test]
fn version_and_help_are_data() {
    let output = sluice(&["version"]);
    assert_silent_stderr(&output, 0);
    assert_eq!(stdout(&output), format!("sluice {}\n", env!("CARGO_PKG_VERSION")));
    assert_silent_stderr(&sluice(&["--help"]), 0);
    assert_silent_stderr(&sluice(&["check", "--help"]), 0);
    let output = sluice(&["help"]);
    assert_silent_stderr(&output, 0);
    assert!(stdout(&output).contains("Exit codes: 0 ok, 1 failed"), "{}", stdout(&output));
    assert_eq!(stdout(&sluice(&["help", "serve"])), stdout(&sluice(&["serve", "--help"])));
}

#[test]
fn a_full_stdout_is_a_failure_and_a_closed_one_is_not() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program().arg("version").stdout(full).output().unwrap();
    assert_silent_stdout(&output, 1);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program().arg("version").stdout(writer).output().unwrap();
    assert_silent_stderr(&output, 0);
}
