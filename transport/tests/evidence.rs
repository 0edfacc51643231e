//! What the texts name as their evidence exists: a renamed test must not leave a claim behind.
#![allow(clippy::unwrap_used, reason = "a tree that can't be read fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Rust sources of the checkout, committed or not, by path and text.
fn sources() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "--", "*.rs"])
        .current_dir(checkout())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files failed: is this a git checkout?");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let text = |file: &str| fs::read_to_string(checkout().join(file)).unwrap_or_default();
    listed.lines().map(|file| (file.to_owned(), text(file))).collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether `name` is a test, a path of the checkout, or an item of the simulated device.
fn exists(name: &str, sources: &[(String, String)]) -> bool {
    if name.contains('/') {
        return checkout().join(name).exists();
    }
    if let Some((owner, item)) = name.split_once("::") {
        let (field, variant) = (format!("pub {item}: "), format!("    {item}"));
        let declares = |text: &str| {
            let named = text.contains(&format!(" {owner} {{"));
            named && text.lines().any(|line| line.contains(&field) || line.starts_with(&variant))
        };
        return sources.iter().any(|(file, text)| file.contains("/sim/src/") && declares(text));
    }
    let test = format!("fn {name}(");
    let attributed = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.trim_start().starts_with(&test));
        at.is_some_and(|at| lines[at.saturating_sub(3)..at].iter().any(|l| l.contains("#[test]")))
    };
    sources.iter().any(|(_, text)| attributed(text))
}

#[test]
fn every_interleaving_has_its_row_and_everything_it_names_exists() {
    let sources = sources();
    let map = fs::read_to_string(checkout().join("transport/interleavings.md")).unwrap();
    let rows: Vec<Vec<&str>> = map
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let numbers: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let wanted: Vec<String> = (1..=44).map(|number| number.to_string()).collect();
    assert_eq!(numbers, wanted);
    for row in rows {
        let [number, _, shown_by] = row[..] else { panic!("{row:?} has not three columns") };
        let evidence = quoted(shown_by);
        assert!(!evidence.is_empty(), "{number}: shown by nothing");
        for name in evidence {
            assert!(exists(name, &sources), "{number}: {name} does not exist");
        }
    }
}

#[test]
fn every_test_that_the_lessons_name_exists() {
    let sources = sources();
    let lessons = fs::read_to_string(checkout().join("transport/src/lessons.rs")).unwrap();
    let joined: String = lessons.lines().map(|line| line.trim_start_matches("//! ")).collect();
    let mut checked = 0;
    for name in quoted(&joined) {
        let words = name.split('_').count();
        if name.contains('/') || (is_name(name) && words > 4) {
            let case = format!("transport/tests/compile_fail/{name}.rs");
            let there = exists(name, &sources) || checkout().join(case).exists();
            assert!(there, "{name} does not exist");
            checked += 1;
        }
    }
    assert!(checked > 15, "only {checked} names found: the text is read wrongly");
}

#[test]
fn evidence_that_does_not_exist_is_noticed() {
    let sources = sources();
    for name in [
        "no_such_test_anywhere_in_the_tree",
        "tests/lab/scenarios/no_such.sh",
        "Behaviour::no_such_axis",
        "Injection::NoSuch",
    ] {
        assert!(!exists(name, &sources), "{name}");
    }
    // A function that is no test is no evidence.
    assert!(!exists("sources", &sources));
}
