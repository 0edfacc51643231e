//! `world SEED` plays one run with its trace; `world --seeds A..B` plays many.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: world SEED [--quiet | --log] | world --seeds FIRST..LAST | \
                     world --calls ROW|all | world --call ROW NUMBER";

/// Runs of one child process: a daemon that is killed leaks on purpose, so processes are not kept.
const SEEDS_OF_CHILD: u64 = 25;
/// Child processes at a time.
const CHILDREN: usize = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let good = match args.as_slice() {
        [seed] => seed.parse().context(USAGE).and_then(|seed| one(seed, true)),
        [seed, "--quiet"] => seed.parse().context(USAGE).and_then(|seed| one(seed, false)),
        [seed, "--log"] => seed.parse().context(USAGE).and_then(|seed| {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(std::io::stderr)
                .without_time()
                .init();
            one(seed, true)
        }),
        ["--calls", row] => calls(row),
        ["--call", row, number] => {
            number.parse().context(USAGE).and_then(|number| call(row, number))
        }
        ["--seeds", range] => range_of(range).and_then(|(first, last)| many(first, last)),
        ["--child", range] => range_of(range).and_then(|(first, last)| child(first, last)),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn range_of(text: &str) -> Result<(u64, u64)> {
    let (first, last) = text.split_once("..").context(USAGE)?;
    let (first, last) = (first.parse().context(USAGE)?, last.parse().context(USAGE)?);
    if first >= last {
        bail!("{text} is no range of seeds");
    }
    Ok((first, last))
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing to stdout")
}

/// Fails each call of a close in turn.
fn calls(name: &str) -> Result<bool> {
    let mut good = true;
    for row in sim::rows::ALL.into_iter().filter(|row| name == "all" || row.name == name) {
        let (count, wrong) = world::fail_each_call(row)?;
        say(&format!("{}: {count} calls, {} wrong", row.name, wrong.len()))?;
        for line in &wrong {
            good = false;
            say(line)?;
        }
    }
    Ok(good)
}

/// Fails one of them, with its trace.
fn call(name: &str, number: u64) -> Result<bool> {
    let row = sim::rows::by_name(name).with_context(|| format!("no row is named {name}"))?;
    let report = world::fail_call(row, number)?;
    show(&format!("{name} call {number}"), &report)
}

/// One run, in full.
fn one(seed: u64, trace: bool) -> Result<bool> {
    if trace {
        say(&world::describe(seed))?;
    }
    show(&format!("seed {seed}"), &world::run(seed, trace))
}

fn show(what: &str, report: &world::Report) -> Result<bool> {
    for line in &report.trace {
        say(line)?;
    }
    say(&format!("{what}: {}", report.summary))?;
    for wrong in &report.wrong {
        say(&format!("WRONG: {wrong}"))?;
    }
    Ok(report.wrong.is_empty())
}

/// Runs in this process, a line for each that is wrong.
fn child(first: u64, last: u64) -> Result<bool> {
    let mut good = true;
    for seed in first..last {
        // Whoever panics on the way names nobody: this line does.
        say(&format!("begins {seed}"))?;
        let report = world::run(seed, false);
        for wrong in &report.wrong {
            good = false;
            say(&format!("seed {seed} ({}): {wrong}", report.summary))?;
        }
    }
    Ok(good)
}

/// Runs in child processes, with progress.
fn many(first: u64, last: u64) -> Result<bool> {
    let began = Instant::now();
    let program = std::env::current_exe().context("this program's own path")?;
    let mut waiting = (first..last).step_by(usize::try_from(SEEDS_OF_CHILD)?).collect::<Vec<_>>();
    waiting.reverse();
    let (mut done, mut bad) = (0, Vec::new());
    let mut running = Vec::new();
    loop {
        while running.len() < CHILDREN
            && let Some(from) = waiting.pop()
        {
            let to = (from + SEEDS_OF_CHILD).min(last);
            let child = Command::new(&program)
                .args(["--child", &format!("{from}..{to}")])
                .stdout(Stdio::piped())
                .spawn()
                .context("starting a child")?;
            running.push((child, to - from));
        }
        if running.is_empty() {
            break;
        }
        let (child, count) = running.remove(0);
        let output = child.wait_with_output().context("waiting for a child")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let latest = text.lines().rfind(|line| line.starts_with("begins ")).unwrap_or_default();
        for line in text.lines().filter(|line| !line.starts_with("begins ")) {
            bad.push(line.to_owned());
            say(line)?;
        }
        if !output.status.success() && !text.lines().any(|line| line.starts_with("seed ")) {
            let seed = latest.trim_start_matches("begins ");
            bad.push(format!("seed {seed}: the run ended with {}", output.status));
            say(&format!("seed {seed}: the run ended with {}", output.status))?;
        }
        done += count;
        eprintln!(
            "{done} of {} runs, {} wrong, {:.0} s",
            last - first,
            bad.len(),
            began.elapsed().as_secs_f64()
        );
    }
    if !bad.is_empty() {
        say("replay one with: cargo run -p world -- SEED")?;
    }
    Ok(bad.is_empty())
}
