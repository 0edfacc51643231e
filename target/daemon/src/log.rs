//! The log: to stderr, through a thread of its own, so that whoever reads it can't stall a reactor.
//!
//! Lines wait in a queue of [`LINES_MAX`]. When it is full they are dropped and counted, and the
//! next line that gets through is preceded by one that says how many were lost. Before that, what
//! a peer can provoke is limited at the place that logs it (`rate`).

mod rate;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context as _;
use sluice_config::schema::{Log, LogFormat};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use self::rate::{Limited, RateLimit};

/// Lines that wait for the reader: a storm of some seconds, at about 200 bytes each 800 KiB.
pub const LINES_MAX: usize = 4096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
static LIMIT: OnceLock<Arc<RateLimit>> = OnceLock::new();

/// Lines of this process that were dropped, since its start.
pub fn dropped_lines() -> u64 {
    let lines = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(lines).unwrap_or(u64::MAX)
}

/// Lines of this process that were not written because their place wrote too many, since its start.
pub fn suppressed_lines() -> u64 {
    LIMIT.get().map_or(0, |limit| limit.suppressed())
}

/// Keeps the log's thread; dropping it says what was suppressed and not told yet, and writes what
/// still waits, for a second at most.
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    limit: Arc<RateLimit>,
    _worker: WorkerGuard,
}

impl Drop for Guard {
    fn drop(&mut self) {
        for (place, lines) in self.limit.take_all_untold() {
            let (module, line) = (place.target(), place.line());
            tracing::warn!(lines, module, line, "lines of one place were suppressed");
        }
    }
}

/// Starts the log of the process. A second call fails.
///
/// # Errors
/// The filter is none, or there is a log already.
pub fn init(log: &Log) -> anyhow::Result<Guard> {
    let stderr = io::stderr();
    // A file of its own: the lock of std's stderr would let a stalled reader stall other threads.
    let file = rustix::io::fcntl_dupfd_cloexec(&stderr, 3).context("can't duplicate stderr")?;
    let file = File::from(file);
    let look = Look {
        format: log.format,
        journal: is_journal(&file, std::env::var("JOURNAL_STREAM").ok().as_deref()),
        colours: stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let started = Instant::now();
    let limit = Arc::new(RateLimit::new(Box::new(move || started.elapsed())));
    let (dispatch, counter, worker) = build(log.level.as_str(), look, &limit, file, LINES_MAX)?;
    tracing::dispatcher::set_global_default(dispatch).context("there is a log already")?;
    DROPPED.get_or_init(|| counter);
    LIMIT.get_or_init(|| Arc::clone(&limit));
    Ok(Guard { limit, _worker: worker })
}

/// How lines look.
#[derive(Debug, Clone, Copy)]
struct Look {
    format: LogFormat,
    /// Lines start with their priority and have no time: the journal adds its own.
    journal: bool,
    colours: bool,
}

/// Whether stderr is the journal itself, and not a pipe of somebody who inherited the variable:
/// `JOURNAL_STREAM` is its device and inode. systemd.exec(5).
fn is_journal(stderr: &File, variable: Option<&str>) -> bool {
    let Ok(stat) = rustix::fs::fstat(stderr) else { return false };
    variable == Some(format!("{}:{}", stat.st_dev, stat.st_ino).as_str())
}

fn build<W: Write + Send + 'static>(
    filter: &str,
    look: Look,
    limit: &Arc<RateLimit>,
    writer: W,
    lines_max: usize,
) -> anyhow::Result<(Dispatch, ErrorCounter, WorkerGuard)> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("log.level {filter:?} is no filter"))?;
    let counter = Arc::new(OnceLock::new());
    let reporting = Reporting { inner: writer, counter: Arc::clone(&counter), reported: 0, look };
    let (lines, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(lines_max)
        .thread_name("log")
        .finish(reporting);
    let dropped = counter.get_or_init(|| lines.error_counter()).clone();
    Ok((dispatch(filter, look, limit, lines), dropped, worker))
}

fn dispatch(filter: EnvFilter, look: Look, limit: &Arc<RateLimit>, lines: NonBlocking) -> Dispatch {
    let admitted = tracing_subscriber::registry().with(filter).with(Limited(Arc::clone(limit)));
    let layer = tracing_subscriber::fmt::layer().with_ansi(look.colours).with_writer(lines);
    let limit = Arc::clone(limit);
    let format = Format::default().with_ansi(look.colours);
    match (look.format, look.journal) {
        (LogFormat::Text, false) => {
            admitted.with(layer.event_format(Line { look, limit, inner: format })).into()
        }
        (LogFormat::Text, true) => {
            let inner = format.without_time();
            admitted.with(layer.event_format(Line { look, limit, inner })).into()
        }
        (LogFormat::Json, _) => {
            let line = |inner| Line { look, limit, inner };
            let layer = layer.json().with_current_span(false);
            admitted.with(layer.map_event_format(line)).into()
        }
    }
}

/// Number of a level in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A line of our own between those of events.
fn notice(look: Look, level: Level, lines: u64, message: &str) -> String {
    let priority = if look.journal { format!("<{}>", priority(level)) } else { String::new() };
    match look.format {
        LogFormat::Text => format!("{priority}{level:>5} sluice::log: {lines} {message}\n"),
        LogFormat::Json => {
            let fields = serde_json::json!({ "message": message, "lines": lines });
            let level = level.as_str();
            let line =
                serde_json::json!({ "level": level, "target": "sluice::log", "fields": fields });
            format!("{priority}{line}\n")
        }
    }
}

/// An event's line: behind `<N>`, which the journal takes for its priority (sd-daemon(3)), and
/// behind a line that says how many like it were suppressed.
struct Line<F> {
    look: Look,
    limit: Arc<RateLimit>,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let untold = self.limit.take_untold(event.metadata());
        if untold > 0 {
            let message = "lines like the next one were suppressed";
            writer.write_str(&notice(self.look, level, untold, message))?;
        }
        if self.look.journal {
            write!(writer, "<{}>", priority(level))?;
        }
        self.inner.format_event(context, writer, event)
    }
}

/// Writes whole lines, and before one says how many were dropped since the last time.
struct Reporting<W> {
    inner: W,
    counter: Arc<OnceLock<ErrorCounter>>,
    reported: usize,
    look: Look,
}

impl<W: Write> Reporting<W> {
    fn report(&mut self) -> io::Result<()> {
        let dropped = self.counter.get().map_or(0, ErrorCounter::dropped_lines);
        if dropped == self.reported {
            return Ok(());
        }
        let lines = u64::try_from(dropped - self.reported).unwrap_or(u64::MAX);
        self.reported = dropped;
        let message = "lines of the log were lost: its reader was too slow";
        self.inner.write_all(notice(self.look, Level::WARN, lines, message).as_bytes())
    }
}

impl<W: Write> Write for Reporting<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.report()?;
        self.inner.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use super::*;

    const TEXT: Look = Look { format: LogFormat::Text, journal: false, colours: false };

    /// A reader that takes nothing until it is told to, and then everything.
    struct Stalled {
        go: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled() -> (Stalled, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (release, go) = channel();
        let taken = Arc::default();
        (Stalled { go, taken: Arc::clone(&taken) }, release, taken)
    }

    /// A limit whose clock stands still.
    fn limit() -> Arc<RateLimit> {
        Arc::new(RateLimit::new(Box::new(|| Duration::ZERO)))
    }

    fn lines_of(look: Look, filter: &str, log: impl FnOnce()) -> Vec<String> {
        lines_with(&limit(), look, filter, log)
    }

    fn lines_with(
        limit: &Arc<RateLimit>,
        look: Look,
        filter: &str,
        log: impl FnOnce(),
    ) -> Vec<String> {
        let (reader, release, taken) = stalled();
        drop(release);
        let (dispatch, _, worker) = build(filter, look, limit, reader, LINES_MAX).unwrap();
        tracing::dispatcher::with_default(&dispatch, log);
        drop(dispatch);
        drop(worker);
        let bytes = taken.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_not_time_and_the_loss_is_told() {
        let (reader, release, taken) = stalled();
        let (dispatch, dropped, worker) = build("info", TEXT, &limit(), reader, 8).unwrap();
        let began = Instant::now();
        tracing::dispatcher::with_default(&dispatch, || {
            for line in 0..1000 {
                tracing::info!(line, "one of many");
            }
        });
        assert!(began.elapsed() < Duration::from_secs(2), "the caller waited for the reader");
        assert!(dropped.dropped_lines() >= 1000 - 8 - 2, "{}", dropped.dropped_lines());
        drop(release);
        drop(worker);
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let told: usize = text
            .lines()
            .filter(|line| line.contains("were lost"))
            .map(|line| line.trim_start().split(' ').nth(2).unwrap().parse::<usize>().unwrap())
            .sum();
        assert_eq!(told, dropped.dropped_lines(), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("one of many")).count() + told, 1000);
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        let look = Look { journal: true, ..TEXT };
        let lines = lines_of(look, "trace", || {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
        });
        let starts = ["<3>ERROR", "<4> WARN", "<6> INFO", "<7>DEBUG"];
        assert_eq!(lines.len(), starts.len());
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
    }

    #[test]
    fn every_json_line_is_an_object_with_its_fields() {
        let look = Look { format: LogFormat::Json, ..TEXT };
        let lines = lines_of(look, "info", || {
            tracing::warn!(peer = "192.0.2.1\n{}", "odd");
            tracing::debug!("below the level");
        });
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["fields"]["peer"], "192.0.2.1\n{}");
        assert_eq!(line["level"], "WARN");
    }

    /// A place that writes more than its burst, has its bucket filled, and writes once more.
    fn storm(look: Look) -> Vec<String> {
        let clock = Arc::new(Mutex::new(Duration::ZERO));
        let read = Arc::clone(&clock);
        let limit = Arc::new(RateLimit::new(Box::new(move || *read.lock().unwrap())));
        lines_with(&limit, look, "info", || {
            for round in 0..2 {
                for _ in 0..[500, 1][round] {
                    tracing::warn!(target: "sluice::reactor", "refused");
                }
                *clock.lock().unwrap() += Duration::from_secs(3600);
            }
        })
    }

    #[test]
    fn a_place_that_opens_again_says_how_much_it_suppressed() {
        let burst = usize::try_from(rate::BURST).unwrap();
        let lines = storm(TEXT);
        assert_eq!(lines.len(), burst + 2);
        let told = format!(" WARN sluice::log: {} lines like the next one were", 500 - burst);
        assert!(lines[burst].starts_with(&told), "{}", lines[burst]);
        assert!(lines[burst + 1].ends_with("WARN sluice::reactor: refused"));

        let lines = storm(Look { journal: true, ..TEXT });
        assert!(lines[burst].starts_with("<4> WARN sluice::log: 372 "), "{}", lines[burst]);

        let lines = storm(Look { format: LogFormat::Json, ..TEXT });
        let told: serde_json::Value = serde_json::from_str(&lines[burst]).unwrap();
        assert_eq!(told["fields"]["lines"], 500 - burst);
        let after: serde_json::Value = serde_json::from_str(&lines[burst + 1]).unwrap();
        assert_eq!(after["fields"]["message"], "refused");
    }

    #[test]
    fn what_a_peer_sent_can_not_colour_the_terminal() {
        let lines = lines_of(TEXT, "info", || tracing::info!("from peer \u{1b}[31mred"));
        assert!(!lines[0].contains('\u{1b}'), "{:?}", lines[0]);
    }

    #[test]
    fn only_the_journals_own_pipe_is_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let right = format!("{}:{}", stat.st_dev, stat.st_ino);
        let wrong = format!("{}:{}", stat.st_dev, stat.st_ino + 1);
        assert!(is_journal(&file, Some(&right)));
        assert!(!is_journal(&file, Some(&wrong)));
        assert!(!is_journal(&file, None));
    }
}
