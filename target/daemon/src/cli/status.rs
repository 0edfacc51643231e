//! `sluice status`

use super::daemon::ask;
use super::output::{json, print};
use super::table::{Table, clean, size, uptime};
use super::{Exit, Format, StatusArgs};
use crate::control::Client;
use crate::status::{Controller, Drains, Queue, Status, Subsystem};

/// Asks the daemon and shows the answer.
pub(super) fn status(args: &StatusArgs) -> Exit {
    match ask(&args.daemon, Client::status) {
        Ok(status) => print(&match args.format {
            Format::Table => tables(&status, args.verbose),
            Format::Json => json(&status),
        }),
        Err(exit) => exit,
    }
}

/// What an administrator looks at first comes first.
fn tables(status: &Status, verbose: bool) -> String {
    let mut text = format!(
        "sluice {}  {}  pid {}  up {}\nconfig {}\nrdma {}{}\n",
        clean(&status.version),
        status.state,
        status.pid,
        uptime(status.uptime_s),
        clean(&status.config_path),
        status.rdma.state,
        reason(status.rdma.waiting.as_deref()),
    );
    text.push_str(&section("Listeners", &listeners(status)));
    for subsystem in &status.subsystems {
        text.push_str(&subsystem_text(subsystem, verbose));
    }
    if !status.discovery.is_empty() {
        text.push_str("\nDiscovery\n");
        text.push_str(&controllers(&status.discovery, verbose));
    }
    text.push_str(&section("Reactors", &reactors(status)));
    text.push_str(&section("Buffers", &lanes(status)));
    text.push_str(&drains(&status.drains));
    text.push_str(&counters(status));
    text
}

fn reason(waiting: Option<&str>) -> String {
    waiting.map(|why| format!(": {}", clean(why))).unwrap_or_default()
}

fn section(title: &str, table: &Table) -> String {
    if table.is_empty() {
        return format!("\n{title}: none\n");
    }
    format!("\n{title}\n{}", table.render(2))
}

fn listeners(status: &Status) -> Table {
    let mut table = Table::new(&["NAME", "TRANSPORT", "ADDRESS", ">PORT", "DEVICE", "STATE"]);
    for listener in &status.listeners {
        table.row([
            listener.name.clone(),
            listener.transport.clone(),
            listener.address.clone(),
            listener.port.to_string(),
            listener.device.clone().unwrap_or_default(),
            format!("{}{}", listener.state, reason(listener.reason.as_deref())),
        ]);
    }
    table
}

fn subsystem_text(subsystem: &Subsystem, verbose: bool) -> String {
    let (nqn, serial) = (clean(&subsystem.nqn), clean(&subsystem.serial));
    let mut text = format!("\nSubsystem {nqn}  serial {serial}\n");
    let mut table = Table::new(&[">NSID", ">SIZE", ">BLOCK", "ACCESS", "BACKEND", "UUID"]);
    for namespace in &subsystem.namespaces {
        table.row([
            namespace.nsid.to_string(),
            size(namespace.size_bytes),
            namespace.block_size.to_string(),
            if namespace.read_only { "ro" } else { "rw" }.to_owned(),
            namespace.backend.clone(),
            namespace.uuid.clone(),
        ]);
    }
    if table.is_empty() {
        text.push_str("  no namespaces\n");
    } else {
        text.push_str(&table.render(2));
    }
    text.push('\n');
    if subsystem.controllers.is_empty() {
        text.push_str("  no hosts connected\n");
    } else {
        text.push_str(&controllers(&subsystem.controllers, verbose));
    }
    text
}

fn controllers(controllers: &[Controller], verbose: bool) -> String {
    let mut table = Table::new(&[
        ">CNTLID",
        "STATE",
        "HOST",
        "PEER",
        "LISTENER",
        ">KATO",
        ">QUEUES",
        ">INFLIGHT",
        ">COMMANDS",
    ]);
    for controller in controllers {
        let sum = |of: fn(&Queue) -> u64| -> u64 { controller.queues.iter().map(of).sum() };
        table.row([
            controller.cntlid.to_string(),
            controller.state.to_string(),
            controller.host_nqn.clone(),
            controller.peer.clone(),
            controller.listener.clone(),
            kato(controller.kato_ms),
            controller.queues.len().to_string(),
            sum(|queue| u64::from(queue.in_flight)).to_string(),
            sum(|queue| queue.commands).to_string(),
        ]);
    }
    let mut text = table.render(2);
    if verbose {
        text.push_str(&queues(controllers));
    }
    text
}

fn kato(kato_ms: u64) -> String {
    match kato_ms {
        0 => "off".to_owned(),
        ms if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

fn queues(controllers: &[Controller]) -> String {
    let mut table = Table::new(&[
        ">CNTLID",
        ">QID",
        ">REACTOR",
        "DEVICE",
        ">QP",
        ">DEPTH",
        ">INFLIGHT",
        ">COMMANDS",
        "PEER",
    ]);
    for controller in controllers {
        for queue in &controller.queues {
            table.row([
                controller.cntlid.to_string(),
                queue.qid.to_string(),
                queue.reactor.to_string(),
                queue.device.clone(),
                queue.qp_number.to_string(),
                queue.depth.to_string(),
                queue.in_flight.to_string(),
                queue.commands.to_string(),
                queue.peer.clone(),
            ]);
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render(2)) }
}

fn reactors(status: &Status) -> Table {
    let mut table = Table::new(&[">INDEX", ">CORE", ">CONNECTIONS", ">CLOSING", ">WAKEUPS"]);
    for reactor in &status.reactors {
        table.row([
            reactor.index.to_string(),
            reactor.core.map(|core| core.to_string()).unwrap_or_default(),
            reactor.connections.to_string(),
            reactor.closing.to_string(),
            reactor.wakeups.to_string(),
        ]);
    }
    table
}

fn lanes(status: &Status) -> Table {
    let mut table = Table::new(&[">REACTOR", "DEVICE", "PROVIDER", ">USED", ">POOL"]);
    for reactor in &status.reactors {
        for lane in &reactor.lanes {
            table.row([
                reactor.index.to_string(),
                lane.device.clone(),
                lane.provider.clone(),
                size(lane.pool_used_bytes),
                size(lane.pool_total_bytes),
            ]);
        }
    }
    table
}

fn drains(drains: &Drains) -> String {
    let mut text = format!(
        "\nDrains: {} closed, {} clean, {} late, {} ended at the deadline, slowest {} ms\n",
        drains.closed, drains.clean, drains.late, drains.deadline_met, drains.slowest_to_destroy_ms
    );
    if drains.lost_anything() {
        text.push_str(&format!(
            "  LOST: {} connections quarantined, {} work requests, {} buffers, \
             {} disk operations\n",
            drains.quarantined,
            drains.work_requests_leaked,
            drains.buffers_leaked,
            drains.disk_operations_leaked
        ));
    }
    text
}

fn counters(status: &Status) -> String {
    let counters = &status.counters;
    let mut text = format!(
        "Connections: {} accepted, {} refused, {} without Connect, {} silent, {} protocol errors\n\
         Commands: {} completed, {} failed; read {}, written {}; {} disk errors\n",
        counters.connections_accepted,
        counters.connections_refused,
        counters.handshakes_timed_out,
        counters.keep_alives_expired,
        counters.protocol_errors,
        counters.commands_completed,
        counters.commands_failed,
        size(counters.read_bytes),
        size(counters.written_bytes),
        counters.disk_errors,
    );
    if counters.log_lines_dropped + counters.log_lines_suppressed > 0 {
        text.push_str(&format!(
            "Log: {} lines lost to a slow reader, {} suppressed\n",
            counters.log_lines_dropped, counters.log_lines_suppressed
        ));
    }
    text
}
