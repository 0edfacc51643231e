//! `cargo run -p mutants` tries every fault and writes `tests/mutants/results.md`; with names as
//! arguments only those, and writes nothing. Exit status 1 when a fault survived.

#![allow(clippy::print_stdout, reason = "its progress is for a person")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use mutants::check::{CHECKS, Verdict};
use mutants::fault::Fault;
use mutants::table::{Row, table};
use mutants::tree::Tree;

struct Bench {
    tree: Tree,
    target: PathBuf,
    log: PathBuf,
}

impl Bench {
    /// The check that notices what is wrong with the tree now, and by what.
    fn judge(&self, unwritable: Option<&str>) -> Result<Option<(String, String)>> {
        for check in CHECKS {
            let by = match check.run(&self.tree.root, &self.target, &self.log)? {
                Verdict::Passed => continue,
                Verdict::Failed(test) => test,
                Verdict::Hung => "did not end".to_owned(),
                Verdict::Unbuildable(error) if unwritable.is_some_and(|c| error.contains(c)) => {
                    return Ok(Some(("the compiler".to_owned(), error)));
                }
                // It shows nothing: the fault has to be written so that it builds.
                Verdict::Unbuildable(error) => bail!("does not build: {error}"),
            };
            return Ok(Some((check.name.to_owned(), by)));
        }
        Ok(None)
    }
}

fn main() -> Result<ExitCode> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let only: Vec<String> = std::env::args().skip(1).collect();
    let mut faults = Fault::all(&checkout)?;
    let known = |name: &String| faults.iter().any(|fault| fault.name == *name);
    ensure!(only.iter().all(known), "no such fault; the names are in tests/mutants/faults.toml");
    faults.retain(|fault| only.is_empty() || only.contains(&fault.name));

    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(checkout.join(".build"), Into::into);
    let folder = target.join("mutants");
    let tree = Tree::copy(&checkout, &folder.join("tree"))?;
    let bench = Bench { tree, target: folder.join("build"), log: folder.join("log.txt") };
    println!("the tree as it is: every check has to pass (builds everything once)");
    if let Some((check, by)) = bench.judge(None)? {
        bail!("{check} fails without any fault: {by} ({})", bench.log.display());
    }

    let (mut rows, mut broken) = (Vec::new(), 0);
    for (index, fault) in faults.iter().enumerate() {
        let began = Instant::now();
        let caught = match bench.tree.with(fault, || bench.judge(fault.unwritable.as_deref())) {
            Ok(caught) => caught,
            Err(error) => {
                println!("{:>2} of {}: {} {error}", index + 1, faults.len(), fault.name);
                broken += 1;
                continue;
            }
        };
        let said = caught.as_ref().map_or_else(
            || "SURVIVED".to_owned(),
            |(check, by)| format!("caught by {check}: {by}"),
        );
        let seconds = began.elapsed().as_secs();
        println!("{:>2} of {}: {} {said} ({seconds} s)", index + 1, faults.len(), fault.name);
        rows.push(Row::new(fault, caught));
    }
    ensure!(broken == 0, "{broken} faults show nothing as they are written");
    if only.is_empty() {
        std::fs::write(checkout.join("tests/mutants/results.md"), table(&rows))?;
    }
    let survived = rows.iter().filter(|row| row.caught.is_none()).count();
    println!("{} faults, {survived} survived", rows.len());
    Ok(if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
