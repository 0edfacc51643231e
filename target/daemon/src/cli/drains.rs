//! `sluice drains`

use std::fs;
use std::path::Path;

use super::daemon::ask;
use super::output::{complain, json, print};
use super::table::{Table, clean, span, uptime};
use super::{DrainsArgs, Exit, Format};
use crate::control::Client;
use crate::drains::{Account, DrainList, DrainQuery, DrainRecord, Returned};

/// Asks the daemon and shows the answer.
pub(super) fn drains(args: &DrainsArgs) -> Exit {
    let id = args.id;
    let limit = id.is_none().then_some(args.limit);
    let list = match ask(&args.daemon, |client: Client| client.drains(DrainQuery { id, limit })) {
        Ok(list) => list,
        Err(exit) => return exit,
    };
    let Some(id) = id else {
        return print(&match args.format {
            Format::Table => table(&list),
            Format::Json => json(&list),
        });
    };
    let Some(drain) = list.drains.iter().find(|drain| drain.id == id) else {
        complain(absent(id, &list));
        return Exit::Failed;
    };
    match (args.svg, args.format) {
        (true, _) => draw(drain, args.output.as_deref()),
        (false, Format::Table) => print(&in_full(drain, list.uptime_ms)),
        (false, Format::Json) => print(&json(drain)),
    }
}

fn draw(drain: &DrainRecord, output: Option<&Path>) -> Exit {
    let picture = super::timeline::draw(drain);
    let Some(file) = output else { return print(&picture) };
    match fs::write(file, picture) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(format_args!("can't write {}: {error}", file.display()));
            Exit::Failed
        }
    }
}

fn absent(id: u64, list: &DrainList) -> String {
    let DrainList { closed, kept, .. } = list;
    if id == 0 || id > *closed {
        return format!("there is no drain {id}: {closed} connections have ended so far");
    }
    format!("drain {id} is not kept any more: of {closed} the daemon has {kept}, see sluice drains")
}

fn table(list: &DrainList) -> String {
    let mut table = Table::new(&[
        ">ID",
        "ENDED",
        "OUTCOME",
        ">TOOK",
        "PEER",
        ">CNTLID",
        ">QID",
        "DEVICE",
        ">POSTED",
        ">RECLAIMED",
        ">LEAKED",
        "CAUSE",
        "HOST",
    ]);
    for drain in &list.drains {
        let total = drain.send.plus(&drain.receive);
        table.row([
            drain.id.to_string(),
            moment(&drain.at),
            drain.outcome.to_string(),
            drain.to_destroy_us.map(span).unwrap_or_default(),
            drain.peer.clone(),
            drain.cntlid.map(|cntlid| cntlid.to_string()).unwrap_or_default(),
            drain.qid.to_string(),
            drain.device.clone(),
            total.posted.to_string(),
            total.reclaimed.to_string(),
            total.leaked.to_string(),
            causes(drain),
            drain.host_nqn.clone(),
        ]);
    }
    if table.is_empty() {
        return format!("No drains: {} connections have ended so far.\n", list.closed);
    }
    let (shown, DrainList { closed, kept, .. }) = (list.drains.len(), list);
    format!("{}\n{shown} shown of {kept} kept, {closed} ended.\n", table.render(0))
}

/// `2026-11-20T15:15:51.680Z` for people: without milliseconds, which the full view has.
fn moment(at: &str) -> String {
    at.split('.').next().unwrap_or_default().replacen('T', " ", 1)
}

fn causes(drain: &DrainRecord) -> String {
    match drain.merged_causes.as_slice() {
        [] => drain.cause.clone(),
        merged => format!("{} (then {})", drain.cause, merged.join(", ")),
    }
}

/// Everything about one, for people.
fn in_full(drain: &DrainRecord, uptime_ms: u64) -> String {
    let age = uptime_ms.saturating_sub(drain.at_uptime_ms) / 1000;
    let at = clean(&drain.at);
    let mut text = format!("Drain {}  {}  {at}  {} ago\n\n", drain.id, drain.outcome, uptime(age));
    for (name, value) in facts(drain) {
        text.push_str(&format!("  {name:<12} {}\n", clean(&value)));
    }
    text.push('\n');
    text.push_str(&path(drain));
    text.push('\n');
    text.push_str(&accounts(drain).render(2));
    text
}

fn facts(drain: &DrainRecord) -> Vec<(&'static str, String)> {
    let controller = match drain.cntlid {
        Some(cntlid) => format!("controller {cntlid}, queue {}", drain.qid),
        None => format!("queue {}, no Connect command was granted", drain.qid),
    };
    let device = format!(
        "{}, provider {}, queue pair {}, reactor {}",
        drain.device, drain.provider, drain.qp_number, drain.reactor
    );
    let mut facts = vec![
        ("host", drain.host_nqn.clone()),
        ("subsystem", drain.subsystem_nqn.clone()),
        ("queue", controller),
        ("peer", drain.peer.clone()),
        ("device", device),
        ("cause", causes(drain)),
        ("move to ERR", move_to_error(drain)),
        ("destroy", destroy(drain)),
    ];
    if drain.stale_completions > 0 {
        facts.push(("stale", format!("{} completions", drain.stale_completions)));
    }
    facts
}

/// What our own move to ERR returned, and how often it was repeated.
pub(super) fn move_to_error(drain: &DrainRecord) -> String {
    let Some(returned) = &drain.move_to_error else { return "not made".to_owned() };
    match drain.kicks {
        0 => result(returned),
        1 => format!("{}, repeated once", result(returned)),
        kicks => format!("{}, repeated {kicks} times", result(returned)),
    }
}

/// What the destroy returned, and its times.
fn destroy(drain: &DrainRecord) -> String {
    let Some(returned) = &drain.destroy else { return "not made".to_owned() };
    let mut text = result(returned);
    if let Some(us) = drain.destroy_us {
        text.push_str(&format!(", took {}", span(us)));
    }
    if let Some(us) = drain.to_destroy_us {
        text.push_str(&format!(", began {} after the cause", span(us)));
    }
    text
}

/// In a word, or with the reason.
pub(super) fn result(returned: &Returned) -> String {
    match (&returned.error, returned.ok) {
        (_, true) => "ok".to_owned(),
        (Some(error), false) => format!("failed ({error})"),
        (None, false) => "failed".to_owned(),
    }
}

fn path(drain: &DrainRecord) -> String {
    let headings = ["STATE", ">ENTERED", ">LASTED", "DEADLINE"];
    // A missing column is one thing less to read where there was no deadline.
    let shown = if drain.deadlines.is_empty() { 3 } else { 4 };
    let mut table = Table::new(&headings[..shown]);
    let last = drain.path.len().saturating_sub(1);
    for (i, stay) in drain.path.iter().enumerate() {
        let ended = drain.deadlines.iter().find(|deadline| deadline.state == stay.state);
        let ended = ended.map(|deadline| format!("ended at it, without {}", deadline.waited_for));
        table.row([
            stay.state.clone(),
            since(stay.entered_us),
            if i == last { "end".to_owned() } else { span(stay.lasted_us) },
            ended.unwrap_or_default(),
        ]);
    }
    table.render(2)
}

/// Time from the beginning of the close, with its sign.
fn since(us: i64) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    format!("{sign}{}", span(us.unsigned_abs()))
}

fn accounts(drain: &DrainRecord) -> Table {
    let mut table = Table::new(&[
        "QUEUE",
        ">POSTED",
        ">COMPLETED",
        ">FLUSHED",
        ">IN ORDER",
        ">RECLAIMED",
        ">LEAKED",
    ]);
    let both = drain.send.plus(&drain.receive);
    for (name, account) in [("send", &drain.send), ("receive", &drain.receive), ("both", &both)] {
        let Account { posted, completed, flushed, retired_in_order, reclaimed, leaked } = account;
        table.row([
            name.to_owned(),
            posted.to_string(),
            completed.to_string(),
            flushed.to_string(),
            retired_in_order.to_string(),
            reclaimed.to_string(),
            leaked.to_string(),
        ]);
    }
    table
}
