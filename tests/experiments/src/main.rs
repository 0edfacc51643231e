//! What work requests really do around the move to the error state: the close path's table of
//! facts, run on a real device and asserted row by row.
//!
//! Usage: `verbs-experiments ADDRESS:PORT [CASE...]`, with an address of an rxe or siw device and
//! the first of some 70 free ports. Prints `case: row | expected | seen | ok` lines; the exit
//! status is 1 when a row is wrong. `verbs-experiments peer ADDRESS:PORT` is the other end of the
//! case `peer_stopped`, on another machine; it ends when its stdin does. Needs root, `tc` and
//! `sch_netem` on siw. The rows hold for Linux 6.1 and 6.12.

mod barrier;
mod case;
mod destroy;
mod disconnect;
mod end;
mod error_state;
mod expected;
mod faults;
mod memory;
mod misuse;
mod network;
mod peer;
mod race;
mod removal;
mod shipped;
mod states;
mod table;
mod vanished;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::case::Lab;

type Run = fn(&mut Lab) -> Result<()>;

const CASES: &[(&str, Run)] = &[
    ("error", error_state::error),
    ("error_queued", error_state::error_queued),
    ("error_idle", error_state::error_idle),
    ("markers_before", error_state::markers_before),
    ("shared_receives", error_state::shared_receives),
    ("disconnect", disconnect::disconnect),
    ("disconnect_idle", disconnect::disconnect_idle),
    ("peer_disconnects", disconnect::peer_disconnects),
    ("peer_killed", disconnect::peer_killed),
    ("peer_errors", disconnect::peer_errors),
    ("bad_rkey", faults::bad_rkey),
    ("no_receive", faults::no_receive),
    ("peer_vanished", faults::peer_vanished),
    ("late_writes", faults::late_writes),
    ("sqd", states::sqd),
    ("sqd_idle", states::sqd_idle),
    ("reset", states::reset),
    ("destroy_live", destroy::destroy_live),
    ("dereg_first", destroy::dereg_first),
    ("reads_then_destroy", barrier::reads_then_destroy),
    ("reads_then_error", barrier::reads_then_error),
    ("writes_after_destroy", barrier::writes_after_destroy),
    ("race", race::race),
    ("refusals", misuse::refusals),
    ("shipped_counted", shipped::counted),
    ("shipped_marked", shipped::marked),
    ("shipped_shared", shipped::shared),
    ("undestroyed", misuse::undestroyed),
];

/// Cases that run only when they are named.
const ON_REQUEST: &[(&str, Run)] =
    &[("device_removed", removal::removal), ("peer_stopped", vanished::vanished)];

#[allow(clippy::print_stdout, reason = "the table is the program's output")]
fn main() -> Result<ExitCode> {
    let mut args = env::args().skip(1).peekable();
    if args.next_if(|word| word == "peer").is_some() {
        peer::run(args.next().context("an address")?.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let addr: SocketAddr =
        args.next().context("usage: verbs-experiments ADDRESS:PORT [CASE...]")?.parse()?;
    let only: Vec<String> = args.collect();
    // First: it may change the environment.
    let _stack = verbs::Verbs::open()?;
    let mut lab = Lab::new(addr)?;
    println!("{:?} on {:?}", lab.provider, lab.kernel);
    let began = Instant::now();
    let hides = env::var_os("RDMAV_ALLOW_DISASSOC_DESTROY").is_some();
    lab.table.begin("environment");
    lab.table.same("RDMAV_ALLOW_DISASSOC_DESTROY after open", false, hides);
    let named = |name: &str| only.iter().any(|wanted| wanted == name);
    let usual = CASES.iter().filter(|(name, _)| only.is_empty() || named(name));
    for (name, run) in usual.chain(ON_REQUEST.iter().filter(|(name, _)| named(name))) {
        let from = Instant::now();
        if let Err(error) = run(&mut lab) {
            lab.table.row("the case itself", "runs to its end", format!("{error:#}"), false);
        }
        println!("# {name}: {:.1} s", from.elapsed().as_secs_f64());
    }
    let (rows, wrong) = lab.table.verdict();
    println!("{rows} rows in {:.1} s, {} wrong", began.elapsed().as_secs_f64(), wrong.len());
    for row in wrong {
        println!("WRONG {row}");
    }
    Ok(if wrong.is_empty() && rows > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
