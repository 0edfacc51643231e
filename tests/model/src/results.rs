//! What is printed: the table of searches, and a path in words.

use std::fmt::Write;
use std::time::Duration;

use crate::limits::Bound;
use crate::search::{Found, Outcome, replay};
use crate::stage::Stage;
use crate::variant::Variant;

/// Head of the table.
pub const HEAD: &str = "\
| row | variant | states | transitions | depth | ends | CPU seconds | violations |
|---|---|--:|--:|--:|--:|--:|--:|";

/// One line of the table.
#[must_use]
pub fn line(outcome: &Outcome) -> String {
    let Outcome { variant, states, transitions, depth, ends, took, cut, found } = outcome;
    let cut = if *cut { " (cut)" } else { "" };
    format!(
        "| {} | {} | {states}{cut} | {transitions} | {depth} | {ends} | {:.1} | {} |",
        variant.row.name,
        variant.name(),
        took.as_secs_f64(),
        found.len(),
    )
}

/// All searches together, and the time on the clock that they took.
#[must_use]
pub fn sum(outcomes: &[Outcome], wall: Duration) -> String {
    let sum = |of: fn(&Outcome) -> usize| -> usize { outcomes.iter().map(of).sum() };
    let seconds: f64 = outcomes.iter().map(|o| o.took.as_secs_f64()).sum();
    format!(
        "{} searches, {} states, {} transitions, {seconds:.0} CPU seconds, {:.0} seconds on the \
         clock, {} violations.",
        outcomes.len(),
        sum(|o| o.states),
        sum(|o| o.transitions),
        wall.as_secs_f64(),
        sum(|o| o.found.len()),
    )
}

/// The page that `make model` leaves behind when it has come to its end.
#[must_use]
pub fn page(outcomes: &[Outcome], wall: Duration) -> String {
    let mut page = String::from(
        "# The exhaustive search through the close\n\n\
         Written by `make model`: every order of device steps, events, failures and time around \
         the end of one\nconnection, with three requests on the send queue, three receives, a \
         disk write, a command of the peer, and\nany two adversities (`src/limits.rs`, bound \
         `full`), over the shipped `transport::Connection` and the\nsimulator's rows. *ends*: \
         states from which the close was played to its end with nothing but time passing.\n\
         There is no variant with markers and shared receives: the shipped code drains a shared \
         queue's connections\nby accounting. Two threads search; CPU seconds are both threads', \
         and the clock also counts what else\nthe machine did meanwhile.\n\n",
    );
    let _ = writeln!(page, "{}\n\n{HEAD}", sum(outcomes, wall));
    for outcome in outcomes {
        let _ = writeln!(page, "{}", line(outcome));
    }
    page
}

/// A violation with its path in words, and how to see it again.
#[must_use]
pub fn explain(variant: Variant, bound: Bound, found: &Found) -> String {
    let mut text = format!("{variant}: {}\n", found.what);
    for step in words(variant, bound, &found.path) {
        let _ = writeln!(text, "    {step}");
    }
    let path: Vec<String> = found.path.iter().map(ToString::to_string).collect();
    let (row, name) = (variant.row.name, variant.name());
    let _ = writeln!(
        text,
        "  cargo run -p model -- replay {} {row} {name} {}",
        bound.name(),
        path.join(".")
    );
    text
}

/// A path in words: the fabric's trace, with the actions between its lines.
#[must_use]
pub fn words(variant: Variant, bound: Bound, path: &[u8]) -> Vec<String> {
    let stage = Stage::new(variant, bound);
    stage.fabric.record(true);
    let mut player = replay(&stage, path);
    let end = player.end();
    let mut lines = stage.fabric.trace();
    lines.extend(end.into_iter().map(|what| format!("broken: {what}")));
    lines
}
