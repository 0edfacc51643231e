//! The log: to stderr, through a thread of its own, so that whoever reads it can't stall a reactor.
//!
//! Lines wait in a queue of [`LINES_MAX`]. When it is full they are dropped and counted, and the
//! next line that gets through is preceded by one that says how many were lost.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use sluice_config::schema::{Log, LogFormat};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines that wait for the reader: a storm of some seconds, at about 200 bytes each 800 KiB.
pub const LINES_MAX: usize = 4096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines of this process that were dropped, since its start.
pub fn dropped_lines() -> u64 {
    let lines = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(lines).unwrap_or(u64::MAX)
}

/// Keeps the log's thread; dropping it writes what still waits, for a second at most.
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    _worker: WorkerGuard,
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
    let (dispatch, counter, worker) = build(log.level.as_str(), look, file, LINES_MAX)?;
    tracing::dispatcher::set_global_default(dispatch).context("there is a log already")?;
    DROPPED.get_or_init(|| counter);
    Ok(Guard { _worker: worker })
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
    Ok((dispatch(filter, look, lines), dropped, worker))
}

fn dispatch(filter: EnvFilter, look: Look, lines: NonBlocking) -> Dispatch {
    let format = Format::default().with_ansi(look.colours);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(look.colours)
        .with_writer(lines);
    match (look.format, look.journal) {
        (LogFormat::Text, false) => builder.event_format(format).into(),
        (LogFormat::Text, true) => builder.event_format(Priority(format.without_time())).into(),
        (LogFormat::Json, false) => builder.json().with_current_span(false).into(),
        (LogFormat::Json, true) => {
            builder.json().map_event_format(|json| Priority(json.with_current_span(false))).into()
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

/// Puts `<N>` before a line, which the journal takes for its priority. sd-daemon(3).
struct Priority<F>(F);

impl<S, N, F> FormatEvent<S, N> for Priority<F>
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
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
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
        let lines = dropped - self.reported;
        self.reported = dropped;
        if self.look.journal {
            write!(self.inner, "<{}>", priority(Level::WARN))?;
        }
        let message = "lines of the log were lost: its reader was too slow";
        match self.look.format {
            LogFormat::Text => writeln!(self.inner, "WARN sluice::log: {lines} {message}"),
            LogFormat::Json => {
                let fields = serde_json::json!({ "message": message, "lines": lines });
                let line = serde_json::json!(
                    { "level": "WARN", "target": "sluice::log", "fields": fields }
                );
                writeln!(self.inner, "{line}")
            }
        }
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

    fn lines_of(look: Look, filter: &str, log: impl FnOnce()) -> Vec<String> {
        let (reader, release, taken) = stalled();
        drop(release);
        let (dispatch, _, worker) = build(filter, look, reader, LINES_MAX).unwrap();
        tracing::dispatcher::with_default(&dispatch, log);
        drop(dispatch);
        drop(worker);
        let bytes = taken.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_not_time_and_the_loss_is_told() {
        let (reader, release, taken) = stalled();
        let (dispatch, dropped, worker) = build("info", TEXT, reader, 8).unwrap();
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
            .map(|line| line.split(' ').nth(2).unwrap().parse::<usize>().unwrap())
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
