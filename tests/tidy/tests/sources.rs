//! What the house style asks of every source file.

#![allow(clippy::unwrap_used, reason = "a tree that can't be read fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file, at most.
const LINES_MAX: usize = 800;
/// Characters of a line of Rust, at most.
const COLUMNS_MAX: usize = 100;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file that git knows and the tree has, by its path in the checkout.
fn files() -> Vec<String> {
    let listed = Command::new("git").arg("ls-files").current_dir(checkout()).output().unwrap();
    assert!(listed.status.success(), "git ls-files failed: is this a git checkout?");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<String> =
        listed.lines().filter(|f| checkout().join(f).is_file()).map(str::to_owned).collect();
    assert!(files.len() > 100, "only {} files: not the whole tree", files.len());
    files
}

fn sources() -> Vec<(String, String)> {
    let sources = files().into_iter().filter(|file| file.ends_with(".rs"));
    sources.map(|file| (file.clone(), fs::read_to_string(checkout().join(file)).unwrap())).collect()
}

#[test]
fn no_source_file_is_longer_than_800_lines() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{file} has {lines} lines");
    }
}

#[test]
fn no_line_of_rust_is_wider_than_100_columns() {
    let mut wide = Vec::new();
    for (file, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                wide.push(format!("{file}:{} has {columns} columns", number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    for (file, text) in sources() {
        let first = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
        assert!(
            first.starts_with("//!") || first.starts_with("#!["),
            "{file} says nothing of itself"
        );
    }
}

#[test]
fn only_verbs_names_the_c_interface_and_only_in_one_file() {
    for (file, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let names_it = code.into_iter().any(|line| line.contains("rdma_sys::"));
        let allowed = file == "transport/verbs/src/ffi.rs" || file.starts_with("tests/tidy/");
        assert!(!names_it || allowed, "{file} names rdma_sys: that is for ffi.rs");
    }
}

#[test]
fn protocol_cores_depend_on_nothing_of_ours() {
    for core in ["target/nvme/Cargo.toml", "target/block/Cargo.toml"] {
        let manifest = fs::read_to_string(checkout().join(core)).unwrap();
        for ours in ["transport", "verbs", "sluice-config", "sluice", "block", "nvme"] {
            let named = manifest.lines().any(|line| {
                line.starts_with(&format!("{ours}.")) || line.starts_with(&format!("{ours} ="))
            });
            assert!(!named, "{core} depends on {ours}");
        }
    }
    let transport = fs::read_to_string(checkout().join("transport/Cargo.toml")).unwrap();
    for above in ["nvme", "block", "verbs"] {
        assert!(!transport.contains(&format!("\n{above}.")), "transport depends on {above}");
    }
}

#[test]
fn the_top_level_has_only_the_folders_that_were_agreed_on() {
    let agreed = ["config", "deploy", "target", "tests", "transport"];
    for file in files() {
        let Some((folder, _)) = file.split_once('/') else { continue };
        assert!(folder.starts_with('.') || agreed.contains(&folder), "{file}: no such folder");
    }
}
