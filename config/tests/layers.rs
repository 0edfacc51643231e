//! Files as they are on disk, and the environment above them.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use sluice_config::schema::{Placement, RdmaMode};
use sluice_config::{Diagnostics, Loaded, limits, load_layers, parse_layers};

const TEXT: &str = r#"
[log]
level = "warn"
[reactors]
spin = "1 ms"
[[listener]]
name = "a"
address = "::1"
[[subsystem]]
nqn = "nqn.2026-01.org.example:a"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "1 GiB"
"#;

fn with(variables: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    parse_layers(TEXT, "t.toml", variables.collect::<Vec<_>>())
}

fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_layers(path, std::iter::empty())
}

/// The only error: `path:line:column`, key and message.
#[track_caller]
fn only(result: Result<Loaded, Diagnostics>) -> (String, String, String) {
    let errors = result.expect_err("this must not be valid");
    assert_eq!(errors.as_slice().len(), 1, "{errors}");
    let error = &errors.as_slice()[0];
    let mut place = error.place.clone();
    let key = std::mem::take(&mut place.key);
    (place.short(), key, format!("{} ({})", error.message, error.help.as_deref().unwrap_or("-")))
}

#[test]
fn variables_win_over_the_file_and_the_file_over_defaults() {
    let config = with(&[]).unwrap().config;
    assert_eq!(config.log.level.as_str(), "warn");
    let config = with(&[
        ("SLUICE__LOG__LEVEL", "debug"),
        ("SLUICE__LIMITS__QUEUE_DEPTH", "64"),
        ("SLUICE__LIMITS__POOL", "64 MiB"),
        ("SLUICE__REACTORS__CORES", "2, 3"),
        ("SLUICE__RDMA__MODE", "on"),
        ("SLUICE__STATE_DIR", "/tmp/state"),
        ("sluice__limits__hosts", "3"),
        ("HOME", "/root"),
        ("SLUICE_LOG", "debug"),
        ("SLUICELOG__LEVEL", "debug"),
    ])
    .unwrap()
    .config;
    assert_eq!(config.log.level.as_str(), "debug");
    assert_eq!(config.limits.queue_depth, 64);
    assert_eq!(config.limits.pool.bytes(), 64 << 20);
    assert_eq!(config.reactors.placement, Placement::Cores(vec![2, 3]));
    assert_eq!(config.rdma.mode, RdmaMode::On);
    assert_eq!(config.state_dir.to_str(), Some("/tmp/state"));
    assert_eq!(config.limits.hosts, 3);
    assert_eq!(config.reactors.spin, std::time::Duration::from_millis(1), "from the file");
    let bracketed = with(&[("SLUICE__REACTORS__CORES", "[4,5]")]).unwrap().config;
    assert_eq!(bracketed.reactors.placement, Placement::Cores(vec![4, 5]));
}

#[test]
fn error_in_a_variable_names_the_variable() {
    for (name, value, key, part) in [
        ("SLUICE__LOG__LEVEL", "debgu", "log.level", "did you mean \"debug\"?"),
        ("SLUICE__LOG__LEVLE", "info", "log.levle", "did you mean \"level\"?"),
        ("SLUICE__LIMITS__QUEUE_DEPTH", "many", "limits.queue_depth", "from 16 to 1024"),
        ("SLUICE__LIMITS__QUEUE_DEPTH", "8", "limits.queue_depth", "from 16 to 1024"),
        ("SLUICE__LIMITS__POOL", "64", "limits.pool", "no unit"),
        ("SLUICE__REACTORS__CORES", "", "reactors.cores[0]", "whole number"),
        ("SLUICE__LOG", "debug", "log", "expected a section"),
        ("SLUICE__LOGS__LEVEL", "debug", "logs", "did you mean \"log\"?"),
        ("SLUICE__SUBSYSTEM__0__NQN", "x", "subsystem.0.nqn", "only set in the file"),
        ("SLUICE__LOG__LEVEL__X", "x", "log.level.x", "no section"),
        ("SLUICE__", "x", "\"\"", "unknown key"),
    ] {
        let (place, at, message) = only(with(&[(name, value)]));
        assert_eq!((place, at), (format!("environment {name}"), key.to_owned()), "{message}");
        assert!(message.contains(part), "{name}: {message}");
    }
    let twice = [("SLUICE__LOG__LEVEL", "info"), ("sluice__log__level", "warn")];
    assert!(only(with(&twice)).2.contains("same key"));
    let bytes = OsString::from_vec(vec![0xff]);
    let result = parse_layers(TEXT, "t.toml", [("SLUICE__LOG__LEVEL".into(), bytes)]);
    assert!(only(result).2.contains("not UTF-8"));
}

#[test]
fn error_in_a_variable_shows_no_control_characters_of_its_name() {
    let twice = [("SLUICE__LOG\u{1b}[2J", "1"), ("SLUICE__log\u{1b}[2J", "2")];
    for variables in [&twice[..1], &twice[..], &[("SLUICE__RDMA__\r__X\u{202e}", "1")]] {
        let shown = with(variables).unwrap_err().to_string();
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(obeyed), "{shown:?}");
    }
}

#[test]
fn rendering_of_an_error_in_a_variable_has_no_source_line() {
    let shown = with(&[("SLUICE__LIMITS__HOSTS", "0")]).unwrap_err().to_string();
    let expected = "error: limits.hosts: expected a whole number from 1 to 4096, \
        found the string \"0\"\n--> environment SLUICE__LIMITS__HOSTS\n\n1 error, 0 warnings";
    assert_eq!(shown, expected);
}

#[test]
fn file_is_loaded_with_its_path_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sluice.toml");
    fs::write(&path, TEXT).unwrap();
    assert_eq!(load(&path).unwrap().config.log.level.as_str(), "warn");
    fs::write(&path, format!("{TEXT}nsdi = 1\n")).unwrap();
    let (place, key, _) = only(load(&path));
    assert_eq!(place, format!("{}:15:1", path.display()));
    assert_eq!(key, "subsystem[0].namespace[0].nsdi");
    let crlf = TEXT.replace('\n', "\r\n");
    fs::write(&path, &crlf).unwrap();
    assert!(load(&path).is_ok(), "files from Windows editors are read");
    fs::write(&path, format!("\u{feff}{TEXT}")).unwrap();
    assert!(load(&path).is_ok(), "with a byte order mark too");
}

#[test]
fn file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sluice.toml");
    assert!(only(load(&path)).2.contains("No such file"));
    assert!(only(load(dir.path())).2.contains("directory"));
    assert!(only(load(&dir.path().join("x/y"))).2.contains("No such file"));
    fs::write(&path, "").unwrap();
    assert!(only(load(&path)).2.contains("empty"));
    assert!(only(load(&path.join("z"))).2.contains("Not a directory"));
    fs::write(&path, b"[log]\n# \xff\n").unwrap();
    let (place, _, message) = only(load(&path));
    assert_eq!(place, format!("{}:2:3", path.display()));
    assert!(message.contains("byte FFh is not UTF-8"), "{message}");
    let max = usize::try_from(limits::FILE_BYTES_MAX).unwrap();
    fs::write(&path, "#\n".repeat(max / 2 + 1)).unwrap();
    assert!(only(load(&path)).2.contains("larger than 1048576 bytes"));
    fs::write(&path, format!("{}{TEXT}", "#\n".repeat((max - TEXT.len()) / 2))).unwrap();
    assert!(load(&path).is_ok(), "a file of the largest size is read");
    assert!(only(load(Path::new("/dev/zero"))).2.contains("larger than"), "an endless file");
}
