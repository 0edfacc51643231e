//! The sections that appear once: the top of the file, log, reactors, rdma and limits.

use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Located};
use crate::keys;
use crate::limits::{self, Bound};
use crate::names::LogFilter;
use crate::schema::{
    Limits, Log, LogFormat, Placement, Rdma, RdmaMode, Reactors, SendWithInvalidate,
};
use crate::walk::{Field, Section, Walk};

/// Where things are when the file does not say.
const STATE_DIR: &str = "/var/lib/sluice";
const CONTROL_SOCKET: &str = "/run/sluice/control.sock";

/// Takes a sub-section out; one that is absent reads like an empty one.
fn section(walk: &mut Walk<'_>, root: &mut Section, key: &str) -> Option<Section> {
    root.take(key).and_then(|field| walk.table(field))
}

/// An absolute path of at most `max` bytes.
pub(crate) fn path(walk: &mut Walk<'_>, field: &Field, max: usize) -> Option<Located<PathBuf>> {
    let parse = |text: &str| {
        if text.contains('\0') {
            Err("holds a NUL byte".to_owned())
        } else if !text.starts_with('/') {
            Err("does not begin with \"/\"".to_owned())
        } else if text.len() > max {
            Err(format!("is {} bytes long; at most {max} are possible", text.len()))
        } else {
            Ok(PathBuf::from(text))
        }
    };
    let path = walk.parsed(field, "an absolute path", "", parse)?;
    Some(walk.locate(field, path))
}

/// `state_dir` and `control_socket`.
pub(crate) fn paths(
    walk: &mut Walk<'_>,
    root: &mut Section,
) -> (Located<PathBuf>, Located<PathBuf>) {
    let state_dir =
        root.take("state_dir").and_then(|field| path(walk, &field, limits::PATH_BYTES_MAX));
    let socket = root
        .take("control_socket")
        .and_then(|field| path(walk, &field, limits::CONTROL_SOCKET_BYTES_MAX));
    (
        state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR).into()),
        socket.unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET).into()),
    )
}

/// `[log]`
pub(crate) fn log(walk: &mut Walk<'_>, root: &mut Section) -> Log {
    let mut log = Log { level: LogFilter::default(), format: LogFormat::Text };
    let Some(mut section) = section(walk, root, "log") else {
        return log;
    };
    if let Some(field) = section.take("level") {
        let help = "levels are off, error, warn, info, debug and trace; for one part of the \
            program too: \"info,nvme=debug\"";
        if let Some(level) = walk.parsed(&field, "a log level", help, LogFilter::parse) {
            log.level = level;
        }
    }
    if let Some(field) = section.take("format") {
        let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        log.format = walk.choice(&field, &words).unwrap_or(log.format);
    }
    walk.finish(section, &keys::LOG);
    log
}

/// `[reactors]`
pub(crate) fn reactors(walk: &mut Walk<'_>, root: &mut Section) -> Reactors {
    let mut reactors = Reactors {
        placement: Placement::Count(limits::REACTORS.default),
        spin: limits::SPIN.default,
    };
    let Some(mut section) = section(walk, root, "reactors") else {
        return reactors;
    };
    let count = section.take("count");
    let cores = section.take("cores");
    if let (Some(count), Some(_)) = (&count, &cores) {
        let help = "keep \"cores\" to pin reactors to cores, or \"count\" to let them float";
        walk.error(count, "\"count\" and \"cores\" exclude each other", help);
    }
    if let Some(field) = count
        && let Some(count) = walk.integer(&field, &limits::REACTORS)
    {
        reactors.placement = Placement::Count(count);
    }
    if let Some(field) = cores {
        reactors.placement = Placement::Cores(core_list(walk, field));
    }
    if let Some(field) = section.take("spin") {
        reactors.spin = walk.duration(&field, &limits::SPIN).unwrap_or(reactors.spin);
    }
    walk.finish(section, &keys::REACTORS);
    reactors
}

fn core_list(walk: &mut Walk<'_>, field: Field) -> Vec<u16> {
    let bound = Bound { min: 0, max: limits::CORE_MAX, default: 0 };
    let place = walk.place(&field);
    let errors = walk.found.errors();
    let mut cores = Vec::new();
    for element in walk.elements(field, "a list of core numbers", usize::from(limits::REACTORS.max))
    {
        let Some(core) = walk.integer(&element, &bound) else {
            continue;
        };
        if cores.contains(&core) {
            let help = "one reactor a core: each would only slow the other down";
            walk.error(&element, format!("the core {core} is named twice"), help);
        } else {
            cores.push(core);
        }
    }
    if cores.is_empty() && walk.found.errors() == errors {
        walk.push(
            Diagnostic::error(place, "expected at least one core, found none"),
            "name the cores, like [2, 3], or leave \"cores\" out",
        );
    }
    cores
}

/// `[rdma]`
pub(crate) fn rdma(walk: &mut Walk<'_>, root: &mut Section) -> (Rdma, Option<Field>) {
    let mut rdma = Rdma { mode: RdmaMode::Auto, send_with_invalidate: SendWithInvalidate::Auto };
    let Some(mut section) = section(walk, root, "rdma") else {
        return (rdma, None);
    };
    let mode = section.take("mode");
    if let Some(field) = &mode {
        let words = [("auto", RdmaMode::Auto), ("on", RdmaMode::On), ("off", RdmaMode::Off)];
        rdma.mode = walk.choice(field, &words).unwrap_or(rdma.mode);
    }
    if let Some(field) = section.take("send_with_invalidate") {
        let words = [("auto", SendWithInvalidate::Auto), ("off", SendWithInvalidate::Off)];
        rdma.send_with_invalidate =
            walk.choice(&field, &words).unwrap_or(rdma.send_with_invalidate);
    }
    walk.finish(section, &keys::RDMA);
    (rdma, mode)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hosts: limits::HOSTS.default,
            controllers: limits::CONTROLLERS.default,
            queues: limits::QUEUES.default,
            queue_depth: limits::QUEUE_DEPTH.default,
            io_queues: limits::IO_QUEUES.default,
            transfer_bytes: limits::TRANSFER_BYTES.default,
            in_capsule_bytes: limits::IN_CAPSULE_BYTES.default,
            pool: crate::size::SizeBytes(limits::POOL_BYTES.default),
            closing: limits::CLOSING.default,
            handshake: limits::HANDSHAKE.default,
            keep_alive_max: limits::KEEP_ALIVE_MAX.default,
            discovery_idle: limits::DISCOVERY_IDLE.default,
        }
    }
}

/// `[limits]`
pub(crate) fn limits(walk: &mut Walk<'_>, root: &mut Section) -> Limits {
    let mut out = Limits::default();
    let Some(mut section) = section(walk, root, "limits") else {
        return out;
    };
    let s = &mut section;
    integer(walk, s, "hosts", &limits::HOSTS, &mut out.hosts);
    integer(walk, s, "controllers", &limits::CONTROLLERS, &mut out.controllers);
    integer(walk, s, "queue_depth", &limits::QUEUE_DEPTH, &mut out.queue_depth);
    integer(walk, s, "closing", &limits::CLOSING, &mut out.closing);
    let queues = integer(walk, s, "queues", &limits::QUEUES, &mut out.queues);
    let io_queues = integer(walk, s, "io_queues", &limits::IO_QUEUES, &mut out.io_queues);
    if u32::from(out.io_queues) >= out.queues {
        let message = format!(
            "\"queues\" is {}, less than one controller takes: 1 admin queue and {} I/O queues",
            out.queues, out.io_queues
        );
        if let Some(field) = queues.or(io_queues) {
            walk.error(&field, message, "raise \"queues\" or lower \"io_queues\"");
        }
    }
    let transfer = transfer(walk, s, &mut out.transfer_bytes);
    in_capsule(walk, s, &mut out.in_capsule_bytes);
    pool(walk, s, &mut out, transfer);
    for (key, bound, slot) in [
        ("handshake", &limits::HANDSHAKE, &mut out.handshake),
        ("keep_alive_max", &limits::KEEP_ALIVE_MAX, &mut out.keep_alive_max),
        ("discovery_idle", &limits::DISCOVERY_IDLE, &mut out.discovery_idle),
    ] {
        if let Some(field) = s.take(key) {
            *slot = walk.duration(&field, bound).unwrap_or(*slot);
        }
    }
    walk.finish(section, &keys::LIMITS);
    out
}

fn integer<T>(
    walk: &mut Walk<'_>,
    section: &mut Section,
    key: &str,
    bound: &Bound<T>,
    slot: &mut T,
) -> Option<Field>
where
    T: Copy + std::fmt::Display + PartialOrd + TryFrom<i128>,
{
    let field = section.take(key)?;
    *slot = walk.integer(&field, bound).unwrap_or(*slot);
    Some(field)
}

/// A size of [`limits::TRANSFER_BYTES`] or [`limits::IN_CAPSULE_BYTES`]: both fit 32 bits.
fn small_size(walk: &mut Walk<'_>, field: &Field, bound: &Bound<u32>) -> Option<u32> {
    let size = walk.size(field, u64::from(bound.min), u64::from(bound.max))?;
    u32::try_from(size.bytes()).ok()
}

fn transfer(walk: &mut Walk<'_>, section: &mut Section, slot: &mut u32) -> Option<Field> {
    let field = section.take("transfer")?;
    match small_size(walk, &field, &limits::TRANSFER_BYTES) {
        Some(bytes) if bytes.is_power_of_two() => *slot = bytes,
        Some(bytes) => {
            let near = crate::size::SizeBytes(u64::from(bytes.next_power_of_two()));
            let help = format!("NVMe counts it in powers of two: write \"{near}\"");
            walk.error(&field, "expected a power of two", &help);
        }
        None => (),
    }
    Some(field)
}

fn in_capsule(walk: &mut Walk<'_>, section: &mut Section, slot: &mut u32) {
    let Some(field) = section.take("in_capsule") else {
        return;
    };
    match small_size(walk, &field, &limits::IN_CAPSULE_BYTES) {
        Some(bytes) if bytes.is_multiple_of(limits::IN_CAPSULE_STEP_BYTES) => *slot = bytes,
        Some(_) => {
            let help = "possible are \"0 B\", \"4 KiB\", \"8 KiB\", \"12 KiB\" and \"16 KiB\"";
            walk.error(&field, "expected a multiple of \"4 KiB\"", help);
        }
        None => (),
    }
}

fn pool(walk: &mut Walk<'_>, section: &mut Section, out: &mut Limits, transfer: Option<Field>) {
    let field = section.take("pool");
    if let Some(field) = &field {
        let bound = limits::POOL_BYTES;
        out.pool = walk.size(field, bound.min, bound.max).unwrap_or(out.pool);
    }
    let least = u64::from(out.transfer_bytes) * limits::POOL_TRANSFERS_MIN;
    if out.pool.bytes() < least
        && let Some(field) = field.or(transfer)
    {
        let least = crate::size::SizeBytes(least);
        let help = format!("raise \"pool\" to \"{least}\" or more, or lower \"transfer\"");
        walk.error(&field, "the pool holds fewer than 4 of the largest transfers", &help);
    }
}
