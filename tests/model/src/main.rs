//! `model run BOUND [ROW [VARIANT]]` searches all variants or those named, to the bound `small`,
//! `medium` or `full`; `model replay BOUND ROW VARIANT PATH` plays one path in words.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the table is the program's output")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use model::limits::Bound;
use model::results;
use model::search::{Outcome, search};
use model::variant::Variant;

/// Searches at a time: each is one thread.
const THREADS: usize = 2;

const USAGE: &str = "usage: model run small|medium|full [ROW [VARIANT]]\n       \
                     model replay small|medium|full ROW VARIANT PATH";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", bound, ref rest @ ..] => match Bound::by_name(bound) {
            Some(bound) => run(bound, &chosen(rest)),
            None => usage(),
        },
        ["replay", bound, row, variant, path] => replay(bound, row, variant, path),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The variants of a row, or one of them.
fn chosen(names: &[&str]) -> Vec<Variant> {
    let mut chosen = Variant::all();
    if let Some(row) = names.first() {
        chosen.retain(|variant| variant.row.name == *row);
    }
    if let Some(name) = names.get(1) {
        chosen.retain(|variant| variant.name() == *name);
    }
    chosen
}

fn run(bound: Bound, variants: &[Variant]) -> ExitCode {
    if variants.is_empty() {
        return usage();
    }
    println!("{}", results::HEAD);
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    // The last rows are the largest: they go first, so that both threads end
                    // at about the same time.
                    let taken = next.fetch_add(1, Ordering::Relaxed);
                    let Some(place) = variants.len().checked_sub(taken + 1) else { return };
                    let variant = variants[place];
                    let outcome = search(variant, bound);
                    println!("{}", results::line(&outcome));
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push((place, outcome));
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|(place, _)| *place);
    let mut clean = true;
    for (_, outcome) in &outcomes {
        for found in &outcome.found {
            clean = false;
            println!("\n{}", results::explain(outcome.variant, bound, found));
        }
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    let wall = began.elapsed();
    println!("\n{}", results::sum(&outcomes, wall));
    if bound == Bound::FULL && variants.len() == Variant::all().len() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/results.md");
        if let Err(error) = std::fs::write(file, results::page(&outcomes, wall)) {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(bound: &str, row: &str, name: &str, path: &str) -> ExitCode {
    let path: Option<Vec<u8>> = path.split('.').map(|choice| choice.parse().ok()).collect();
    let (Some(bound), Some(variant), Some(path)) =
        (Bound::by_name(bound), Variant::by_name(row, name), path)
    else {
        return usage();
    };
    for line in results::words(variant, bound, &path) {
        println!("{line}");
    }
    ExitCode::SUCCESS
}
