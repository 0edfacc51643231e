//! Replays the corpus of every target, then mutates it.
//!
//! | variable | meaning |
//! |---|---|
//! | `FUZZ_SEED` | the seed of the mutation; 1 when absent |
//! | `FUZZ_SECONDS` | how long each target is mutated; 2 when absent |
//! | `FUZZ_INPUT` | a file: only this input is run, by the one test that is selected |

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed, and says what it did"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use fuzz::mutation::{Rng, mutate};
use fuzz::{TARGETS, Target, limits, target};

fn folder(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|e| panic!("{}: {e}", target.name));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}

fn number(name: &str, default: u64) -> u64 {
    let text = env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// Runs one input; when it panics says how to run it again, and goes on panicking.
fn attempt(target: Target, input: &[u8], said: &dyn Fn() -> String) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) else { return };
    let name = target.name;
    let file = env::temp_dir().join(format!("fuzz-{name}-{}", std::process::id()));
    let kept = fs::write(&file, input).map_or_else(|e| e.to_string(), |()| String::new());
    eprintln!(
        "target {name} failed on {}: {} bytes, kept in {} {kept}",
        said(),
        input.len(),
        file.display()
    );
    eprintln!("again: FUZZ_INPUT={} cargo test -p fuzz --test targets {name}", file.display());
    std::panic::resume_unwind(panic);
}

fn fuzz(name: &str) {
    let target = target(name).expect("the test names a target");
    if let Some(file) = env::var_os("FUZZ_INPUT") {
        let input = fs::read(&file).unwrap();
        return attempt(target, &input, &|| format!("{}", Path::new(&file).display()));
    }
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "target {name} has no corpus");
    for (file, input) in &corpus {
        attempt(target, input, &|| file.clone());
    }
    let seed = number("FUZZ_SEED", 1);
    let time = Duration::from_secs(number("FUZZ_SECONDS", 2));
    let mut rng = Rng::new(seed);
    let mut pool: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let seeds = pool.len();
    let began = Instant::now();
    let mut runs = 0_u64;
    // At least so many whatever the machine does, so that a busy one still tests something.
    while began.elapsed() < time || runs < 200 {
        let input = mutate(&mut rng, &pool);
        let run = || format!("seed {seed}, input {runs} (FUZZ_SEED={seed} makes the same)");
        attempt(target, &input, &run);
        // Some go back into the pool: changes on changes reach further than changes on the corpus.
        if runs.is_multiple_of(16) {
            if pool.len() < seeds + limits::POOL_MAX {
                pool.push(input);
            } else {
                let at = seeds + rng.below(limits::POOL_MAX);
                pool[at] = input;
            }
        }
        runs += 1;
    }
    println!("{name}: {runs} inputs from seed {seed}");
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

tests! {
    authentication
    cm_private_data
    config_environment
    config_text
    control_request
    controller
    names
    queue_connect
    queue_io
    sgl
    wr_id
}

#[test]
fn every_target_has_a_test_a_corpus_and_a_libfuzzer_binary() {
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let libfuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = fs::read_to_string(libfuzzer.join("Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
        assert!(libfuzzer.join("fuzz_targets").join(format!("{}.rs", target.name)).is_file());
    }
    let mut folders: Vec<String> = fs::read_dir(folder(TARGETS[0]).parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    names.sort_unstable();
    assert_eq!(folders, names, "folders of the corpus");
}
