//! Mistakes that must not compile: the rules of ownership as the compiler enforces them.
//!
//! Beside each case is what rustc 1.95 says of it. Compilers word their answers differently, so
//! only the errors' codes and lines are compared. A new case's answer is left in
//! `tmp/compile_fail` of the build folder, to be read and copied.
#![allow(clippy::unwrap_used, reason = "a tree that can't be read fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where the cases are played, so that no answer is written into the sources.
fn played() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail")
}

/// Code and line of each error of an answer, told once.
fn errors(answer: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = answer.lines().collect();
    let errors = lines.windows(2).filter_map(|pair| {
        let code = pair[0].strip_prefix("error[")?.split(']').next()?;
        let place = pair[1].trim_start().strip_prefix("--> ")?;
        Some((code.to_owned(), place.split(':').nth(1)?.to_owned()))
    });
    let mut errors: Vec<_> = errors.collect();
    errors.dedup();
    errors
}

#[test]
fn memory_in_flight_and_proofs_cannot_be_misused() {
    let played = played();
    let _ = fs::remove_dir_all(&played);
    fs::create_dir_all(&played).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let cases: Vec<&PathBuf> =
        files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")).collect();
    assert!(cases.len() >= 8, "{cases:?}");
    for case in &cases {
        fs::copy(case, played.join(case.file_name().unwrap())).unwrap();
    }
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_copies_do_not_compile", "--ignored"])
        .env("TRYBUILD", "overwrite")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for case in cases {
        let answer = |file: PathBuf| errors(&fs::read_to_string(file).unwrap_or_default());
        let said = answer(played.join(case.file_name().unwrap()).with_extension("stderr"));
        let expected = answer(case.with_extension("stderr"));
        assert!(!said.is_empty(), "{case:?}: no answer with a code");
        assert_eq!(said, expected, "{case:?} fails for another reason");
    }
}

#[test]
#[ignore = "played by the other test, on copies of the cases"]
fn the_copies_do_not_compile() {
    trybuild::TestCases::new().compile_fail(played().join("*.rs"));
}
