//! `target/` holds sources and shares its name with Cargo's default build folder.

use std::path::{Path, PathBuf};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What Cargo leaves in a build folder.
const CARGO_LEAVINGS: [&str; 7] = [
    "CACHEDIR.TAG",
    "debug",
    "release",
    ".rustc_info.json",
    ".rustdoc_fingerprint.json",
    "doc",
    "tmp",
];

#[test]
fn cargo_never_builds_into_the_source_folder_target() {
    let target = checkout().join("target");
    for leaving in CARGO_LEAVINGS {
        assert!(
            !target.join(leaving).exists(),
            "cargo wrote target/{leaving}: run it from inside the checkout, so that \
             .cargo/config.toml is found, and remove that entry (never `cargo clean` here)"
        );
    }
}

#[test]
fn cargo_is_told_to_build_elsewhere_and_git_keeps_the_folder() {
    let config = std::fs::read_to_string(checkout().join(".cargo/config.toml")).unwrap();
    assert!(config.contains("target-dir = \".build\""), ".cargo/config.toml lost its target-dir");
    let ignored = std::fs::read_to_string(checkout().join(".gitignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "!/target/"), ".gitignore lost !/target/");
}
