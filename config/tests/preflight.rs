//! What preflight says of the files, devices and directories of a real machine.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use sluice_config::{Diagnostic, Severity, parse, preflight};

/// A configuration whose namespaces are given by `keys`, in a directory of its own.
fn check(dir: &Path, keys: &[String]) -> Vec<Diagnostic> {
    let mut text = format!(
        "state_dir = \"{0}\"\ncontrol_socket = \"{0}/control.sock\"\n\
         [[listener]]\nname = \"a\"\naddress = \"::1\"\n\
         [[subsystem]]\nnqn = \"nqn.2026-01.org.example:a\"\nallow_any_host = true\n",
        dir.display()
    );
    for (index, keys) in keys.iter().enumerate() {
        text.push_str(&format!("[[subsystem.namespace]]\nnsid = {}\n{keys}\n", index + 1));
    }
    let loaded = parse(&text, "t.toml").unwrap_or_else(|errors| panic!("{errors}"));
    preflight(&loaded.config)
}

/// Checks that one namespace has exactly one finding, on the line of its backing.
#[track_caller]
fn one(dir: &Path, keys: &str, severity: Severity, message: &str, help: &str) {
    let found = check(dir, &[keys.to_owned()]);
    assert_eq!(found.len(), 1, "{keys}: {found:#?}");
    assert_eq!(found[0].severity, severity, "{}", found[0]);
    assert_eq!(found[0].place.line, Some(11), "{}", found[0]);
    assert!(found[0].message.contains(message), "{}", found[0]);
    assert!(found[0].help.as_deref().unwrap_or_default().contains(help), "{}", found[0]);
}

#[test]
fn good_files_have_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.img");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    let there = format!("file = {file:?}");
    let sized = format!("file = {:?}\nsize = \"1 GiB\"", dir.path().join("new.img"));
    let ram = "ram = \"1 GiB\"".to_owned();
    assert_eq!(check(dir.path(), &[there, sized, ram]), []);
    assert!(!dir.path().join("new.img").exists(), "preflight makes nothing");
}

#[test]
fn absent_and_wrong_things_are_errors_at_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let name = |name: &str| format!("{:?}", at.join(name));
    let error = Severity::Error;
    let absent = format!("file = {}", name("absent"));
    one(at, &absent, error, "does not exist", "size = ");
    one(at, &format!("{absent}\nsize = \"1 GiB\"\nread_only = true"), error, "not exist", "never");
    let nowhere = format!("file = {}\nsize = \"1 GiB\"", name("no/where"));
    one(at, &nowhere, error, "directory", "mkdir -p");
    one(at, &format!("device = {}", name("absent")), error, "does not exist", "lsblk");
    one(at, &format!("file = {:?}", at), error, "is a directory, not a regular file", "");
    one(at, &format!("device = {:?}", at), error, "is a directory, not a block", "");
    one(at, "device = \"/dev/null\"", error, "character device", "");
    one(at, "file = \"/dev/null\"", error, "character device", "");
    fs::write(at.join("file"), vec![0; 1 << 20]).unwrap();
    one(at, &format!("device = {}", name("file")), error, "a regular file", "file =");
    one(at, &format!("file = {}", name("file/below")), error, "can't be reached", "no directory");
    symlink(at.join("loop"), at.join("loop")).unwrap();
    one(at, &format!("file = {}", name("loop")), error, "can't be reached", "");
    let _socket = UnixListener::bind(at.join("socket")).unwrap();
    one(at, &format!("file = {}", name("socket")), error, "is a socket", "");
}

#[test]
fn sizes_that_do_not_fit_are_pointed_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.img");
    let key = format!("file = {file:?}");
    fs::write(&file, vec![0; 511]).unwrap();
    one(dir.path(), &key, Severity::Error, "511 B, less than one block", "truncate");
    fs::write(&file, vec![0; (1 << 20) + 512]).unwrap();
    let block = format!("{key}\nblock_size = 4096");
    one(dir.path(), &block, Severity::Warning, "whole number of blocks", "last 512 bytes");
    assert_eq!(check(dir.path(), std::slice::from_ref(&key)), []);
    let sized = format!("{key}\nsize = \"1 GiB\"");
    one(dir.path(), &sized, Severity::Warning, "not the 1 GiB", "stays as it is");
}

#[test]
fn same_file_under_two_names_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.img");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    symlink(&file, dir.path().join("soft")).unwrap();
    fs::hard_link(&file, dir.path().join("hard")).unwrap();
    let read = "\nread_only = true";
    for other in ["soft", "hard"] {
        let (first, second) =
            (format!("file = {file:?}"), format!("file = {:?}", dir.path().join(other)));
        let found = check(dir.path(), &[first.clone(), second.clone()]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].message.contains("two namespaces"), "{}", found[0]);
        assert!(found[0].help.as_deref().unwrap_or_default().contains("t.toml:11:8"));
        assert_eq!(check(dir.path(), &[first.clone() + read, second.clone()]).len(), 1);
        assert_eq!(check(dir.path(), &[first + read, second + read]), []);
    }
}

#[test]
fn the_sockets_directory_is_looked_at_and_the_state_directory_is_not() {
    let dir = tempfile::tempdir().unwrap();
    // The daemon or systemd makes one directory, like /run/sluice.
    assert_eq!(check(&dir.path().join("missing"), &[]), []);
    let missing = check(&dir.path().join("missing/below"), &[]);
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert_eq!((missing[0].severity, missing[0].place.line), (Severity::Warning, Some(2)));
    assert!(missing[0].message.contains("below\" does not exist"), "{missing:#?}");
    fs::write(dir.path().join("control.sock"), "").unwrap();
    let found = check(dir.path(), &[]);
    assert!(found[0].message.contains("no socket"), "{found:#?}");
    fs::remove_file(dir.path().join("control.sock")).unwrap();
    let _socket = UnixListener::bind(dir.path().join("control.sock")).unwrap();
    assert_eq!(check(dir.path(), &[]), []);
    fs::write(dir.path().join("file"), "").unwrap();
    let found = check(&dir.path().join("file"), &[]);
    assert_eq!(found[0].help.as_deref(), Some("a part of the path is no directory"), "{found:#?}");
}

#[test]
fn ram_disks_beyond_the_machines_memory_are_doubtful() {
    let dir = tempfile::tempdir().unwrap();
    one(dir.path(), "ram = \"16 TiB\"", Severity::Warning, "ram disks take 16 TiB", "smaller");
}

#[test]
fn what_is_missing_here_is_found_beside_errors_of_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().display();
    let text = format!(
        "control_socket = \"{base}/c.sock\"\n[[listener]]\nname = \"a\"\naddress = \"::300000\"\n\
         [[subsystem]]\nnqn = \"wrong\"\nallow_any_host = true\n\
         [[subsystem.namespace]]\nnsid = 0\nfile = \"{base}/absent\"\n\
         [[subsystem.namespace]]\nnsid = 2\nfile = \"{base}/new\"\nsizee = \"1 GiB\"\n"
    );
    let file = dir.path().join("t.toml");
    fs::write(&file, text).unwrap();
    let (config, found) = sluice_config::examine(&file);
    assert!(config.is_none());
    let lines: Vec<_> = found.as_slice().iter().map(|found| found.place.line).collect();
    // Of the file that was to be made only the wrong key is told, not that it is absent.
    assert_eq!(lines, [Some(4), Some(6), Some(9), Some(10), Some(14)], "{found}");
    assert!(found.as_slice()[3].message.contains("absent\" does not exist"), "{found}");
}

#[test]
fn file_without_permission_is_an_error() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    /// Set in the child, which is not root: to root everything is permitted.
    const DIR: &str = "PREFLIGHT_PERMISSION_DIR";
    if let Some(dir) = std::env::var_os(DIR) {
        let dir = Path::new(&dir);
        let file = format!("file = {:?}", dir.join("disk.img"));
        one(dir, &file, Severity::Error, "Permission denied", "daemon's user");
        assert_eq!(check(dir, &[file + "\nread_only = true"]), []);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.img");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let exe = dir.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    fs::set_permissions(&exe, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&exe);
    child.args(["--exact", "file_without_permission_is_an_error"]).env(DIR, dir.path());
    child.current_dir("/");
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        child.uid(65534);
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn block_device_is_taken_as_device_and_refused_as_file() {
    let devices = fs::read_dir("/dev").unwrap().filter_map(Result::ok);
    let device = devices.map(|entry| entry.path()).find(|path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
    });
    let Some(device) = device else {
        eprintln!("SKIPPED: there is no block device in /dev");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file = {device:?}");
    one(dir.path(), &file, Severity::Error, "is a block device", "device =");
    let (first, second) = (device.clone(), dir.path().join("two"));
    // A second node of the same device: only its number says that it is the same.
    let number = fs::metadata(&device).unwrap().rdev();
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    let numbers = [major.to_string(), minor.to_string()];
    let made = Command::new("mknod").arg(&second).arg("b").args(numbers).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: mknod is not allowed, a link stands in for a second node");
        symlink(&device, &second).unwrap();
    }
    let found = check(dir.path(), &[format!("device = {first:?}"), format!("device = {second:?}")]);
    assert!(found.iter().any(|found| found.message.contains("two namespaces")), "{found:#?}");
}
