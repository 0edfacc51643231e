//! Every scenario on every device as a named test.
//!
//! `LAB_JOBS` boots run at a time (2); `LAB_KERNELS` are the guests' kernels (`6.12`, or `6.12
//! 6.1`). Scenarios of suite `all` are ignored tests: `--include-ignored` runs them.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use lab::cache;
use lab::plan::{self, Batch, Case};
use lab::scenario::{self, Suite};
use lab::setup::{Accel, Series};
use libtest_mimic::{Arguments, Failed, Trial};

/// What went wrong with a case, if anything did.
type Verdict = Option<String>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match tests(&arguments) {
        Ok((arguments, trials)) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tests(arguments: &Arguments) -> Result<(Arguments, Vec<Trial>)> {
    let kernels = env::var("LAB_KERNELS").unwrap_or_default();
    let mut kernels: Vec<Series> =
        kernels.split_whitespace().map(str::parse).collect::<Result<_>>()?;
    if kernels.is_empty() {
        kernels.push(Series::default());
    }
    let scenarios = scenario::load_all(&cache::lab_sources().join("scenarios"))?;
    let cases = plan::cases(&scenarios, &kernels);
    // The runner has to know which tests will run before any does: those that share a boot start
    // together, whichever of them is asked for first.
    let mut verdicts = if arguments.list {
        BTreeMap::new()
    } else {
        let wanted: Vec<Case> =
            cases.iter().filter(|case| is_wanted(arguments, case)).cloned().collect();
        start(plan::batches(&wanted, Accel::from_env()?)?)?
    };
    let mut trials = Vec::new();
    for case in &cases {
        let verdict = verdicts.remove(&case.name());
        let trial = Trial::test(case.name(), move || judge(verdict));
        trials.push(trial.with_ignored_flag(case.scenario.suite == Suite::All));
    }
    // Each test only waits for its verdict; LAB_JOBS bounds what runs.
    let arguments = Arguments { test_threads: Some(trials.len().max(1)), ..arguments.clone() };
    Ok((arguments, trials))
}

fn judge(verdict: Option<Receiver<Verdict>>) -> Result<(), Failed> {
    let verdict =
        verdict.ok_or("this test was not planned: the filter disagrees with libtest's")?;
    match verdict.recv() {
        Ok(None) => Ok(()),
        Ok(Some(why)) => Err(why.into()),
        Err(_) => Err("its runner ended without a verdict".into()),
    }
}

/// libtest's own rule: ignored flag, filter, skip.
fn is_wanted(arguments: &Arguments, case: &Case) -> bool {
    let name = case.name();
    let matches = |pattern: &String| {
        if arguments.exact { name == *pattern } else { name.contains(pattern.as_str()) }
    };
    let ignored = case.scenario.suite == Suite::All;
    let by_flag = if arguments.ignored { ignored } else { !ignored || arguments.include_ignored };
    by_flag && arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

/// Runs the batches on `LAB_JOBS` threads; a receiver for each case's verdict.
fn start(batches: Vec<Batch>) -> Result<BTreeMap<String, Receiver<Verdict>>> {
    let jobs: usize = match env::var("LAB_JOBS") {
        Ok(jobs) => jobs.parse().context("LAB_JOBS")?,
        Err(_) => 2,
    };
    let mut receivers = BTreeMap::new();
    let mut queue: VecDeque<(Batch, BTreeMap<String, Sender<Verdict>>)> = VecDeque::new();
    for batch in batches {
        let mut senders = BTreeMap::new();
        for scenario in &batch.scenarios {
            let case = Case {
                scenario: scenario.clone(),
                device: batch.setup.device,
                series: batch.setup.series,
            };
            let (sender, receiver) = channel();
            senders.insert(case.name(), sender);
            receivers.insert(case.name(), receiver);
        }
        queue.push_back((batch, senders));
    }
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..jobs.max(1) {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some((batch, senders)) = next() {
                plan::run(&batch, false, |case, outcome| {
                    if let Some(sender) = senders.get(&case.name()) {
                        // The test may have been given up; its verdict then interests nobody.
                        let _ = sender.send(plan::explain(case, &outcome));
                    }
                });
            }
        });
    }
    Ok(receivers)
}
