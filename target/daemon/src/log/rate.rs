//! A bound on what a peer can make us write: a token bucket for each place that logs.
//!
//! A place may write [`BURST`] lines at once and one every [`EVERY`] in the long run. What is over
//! that is counted and not written, and not even formatted; the next line of the place that is
//! written is preceded by how many were not. Counters of the daemon never depend on it.
//!
//! It holds for every line at `warn` and `info` but those of [`OPERATORS`], so a place that is
//! written tomorrow has its limit already. `error` is for what an operator must see, `debug` for
//! what one asked for: neither is limited.
//!
//! LIMIT: the bucket is the place's and not the peer's: a peer that refuses to behave can hide
//! the same line about another one. `sluice drains` and the counters of `sluice status` still
//! have it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that a place writes at once: the queues of one host on a large machine say that they
/// ended.
pub(super) const BURST: u32 = 128;

/// Time in which a place earns another line. The places that a peer reaches are about 20, so peers
/// that do their worst fill 20 lines a second, some 4 KiB.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Places whose lines come from an operator's own doing, and are as many as the configuration is
/// long.
const OPERATORS: [&str; 6] = [
    "sluice::cli",
    "sluice::export",
    "sluice::log",
    "sluice::notify",
    "sluice::serve",
    "sluice::signals",
];

/// Time since any fixed moment.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The buckets of all places. Their number is bounded by the program's text.
pub(super) struct RateLimit {
    clock: Clock,
    places: Mutex<HashMap<Identifier, Place>>,
    suppressed: AtomicU64,
}

struct Place {
    metadata: &'static Metadata<'static>,
    /// When its bucket is full again.
    full_at: Duration,
    /// Lines that were not written and not told of.
    untold: u64,
}

impl RateLimit {
    /// All buckets are full.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, places: Mutex::default(), suppressed: AtomicU64::new(0) }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a line of this place is written now.
    fn admit(&self, metadata: &'static Metadata<'static>) -> bool {
        if !is_limited(metadata) {
            return true;
        }
        let now = (self.clock)();
        let mut places = self.places();
        let fresh = || Place { metadata, full_at: Duration::ZERO, untold: 0 };
        let place = places.entry(metadata.callsite()).or_insert_with(fresh);
        let full_at = place.full_at.max(now) + EVERY;
        if full_at - now > EVERY * BURST {
            place.untold += 1;
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        place.full_at = full_at;
        true
    }

    /// Lines of this place that were not written since it was last asked.
    pub(super) fn take_untold(&self, metadata: &Metadata<'_>) -> u64 {
        if !is_limited(metadata) {
            return 0;
        }
        let mut places = self.places();
        places.get_mut(&metadata.callsite()).map_or(0, |place| std::mem::take(&mut place.untold))
    }

    /// The same for every place, each with its level, module and line: for the end of the log.
    pub(super) fn take_all_untold(&self) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut places = self.places();
        let untold = places.values_mut().filter(|place| place.untold > 0);
        let mut all: Vec<_> =
            untold.map(|place| (place.metadata, std::mem::take(&mut place.untold))).collect();
        all.sort_by_key(|(metadata, _)| (metadata.target(), metadata.line()));
        all
    }

    /// Lines that were not written, since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }
}

fn is_limited(metadata: &Metadata<'_>) -> bool {
    let below = |module: &&str| {
        let rest = metadata.target().strip_prefix(*module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    matches!(*metadata.level(), Level::WARN | Level::INFO) && !OPERATORS.iter().any(below)
}

/// Drops events for which [`RateLimit`] has no token.
pub(super) struct Limited(pub(super) Arc<RateLimit>);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admit(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// A clock that a test turns.
    #[derive(Clone, Default)]
    struct Turned(Arc<AtomicU64>);

    impl Turned {
        fn advance(&self, span: Duration) {
            let millis = u64::try_from(span.as_millis()).unwrap();
            self.0.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// What was written, as place and lines told to be missing before it.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<(u32, u64)>>>);

    struct Record(Arc<RateLimit>, Written);

    impl<S: Subscriber> Layer<S> for Record {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            let line = (metadata.line().unwrap(), self.0.take_untold(metadata));
            self.1.0.lock().unwrap().push(line);
        }
    }

    fn limited(log: impl FnOnce(&Turned)) -> (Vec<(u32, u64)>, Arc<RateLimit>) {
        let clock = Turned::default();
        let of_limit = clock.clone();
        let read = move || Duration::from_millis(of_limit.0.load(Ordering::Relaxed));
        let limit = Arc::new(RateLimit::new(Box::new(read)));
        let written = Written::default();
        let record = Record(Arc::clone(&limit), written.clone());
        let stack = tracing_subscriber::registry().with(Limited(Arc::clone(&limit))).with(record);
        tracing::subscriber::with_default(stack, || log(&clock));
        let lines = written.0.lock().unwrap().clone();
        (lines, limit)
    }

    fn refused() {
        tracing::warn!(target: "sluice::reactor::lifecycle", "refused");
    }

    #[test]
    fn a_burst_is_written_and_then_one_line_for_each_interval() {
        let (lines, limit) = limited(|clock| {
            (0..1000).for_each(|_| refused());
            clock.advance(EVERY - Duration::from_millis(1));
            refused();
            clock.advance(Duration::from_millis(1));
            (0..10).for_each(|_| refused());
        });
        let burst = usize::try_from(BURST).unwrap();
        assert_eq!(lines.len(), burst + 1);
        assert!(lines[..burst].iter().all(|(_, untold)| *untold == 0));
        // The rest of the thousand, and the one that came too early.
        assert_eq!(lines[burst].1, 1001 - u64::from(BURST));
        assert_eq!(limit.suppressed(), 1001 - u64::from(BURST) + 9);
        let rest = limit.take_all_untold();
        assert_eq!(rest.iter().map(|(_, untold)| untold).sum::<u64>(), 9);
        assert!(limit.take_all_untold().is_empty(), "told twice");
    }

    #[test]
    fn a_bucket_never_holds_more_than_a_burst() {
        let (lines, _) = limited(|clock| {
            refused();
            clock.advance(EVERY * BURST * 100);
            (0..1000).for_each(|_| refused());
        });
        assert_eq!(lines.len(), 1 + usize::try_from(BURST).unwrap());
    }

    #[test]
    fn a_place_that_is_closed_closes_no_other() {
        let (lines, limit) = limited(|_| {
            for _ in 0..1000 {
                refused();
                tracing::info!(target: "sluice::drains", "drained");
            }
        });
        let at = |place| lines.iter().filter(|(line, _)| *line == place).count();
        let places: Vec<u32> = lines[..2].iter().map(|(line, _)| *line).collect();
        assert_eq!(places.iter().map(|place| at(*place)).sum::<usize>(), lines.len());
        assert!(places.iter().all(|place| at(*place) == usize::try_from(BURST).unwrap()));
        assert_eq!(limit.take_all_untold().len(), 2);
    }

    #[test]
    fn errors_debugging_and_what_an_operator_caused_are_never_limited() {
        let (lines, limit) = limited(|_| {
            for _ in 0..1000 {
                tracing::error!(target: "sluice::drains", "leaked");
                tracing::debug!(target: "sluice::reactor", "closing");
                tracing::info!(target: "sluice::export", "a namespace");
                tracing::warn!(target: "sluice::cli::serve", "of the configuration");
            }
        });
        assert_eq!((lines.len(), limit.suppressed()), (4000, 0));
    }

    #[test]
    fn other_crates_and_modules_of_tomorrow_are_limited() {
        let (lines, _) = limited(|_| {
            for _ in 0..1000 {
                tracing::warn!(target: "transport::reaper", "slow");
                tracing::info!(target: "sluice::exporter", "not the operator's module");
            }
        });
        assert_eq!(lines.len(), 2 * usize::try_from(BURST).unwrap());
    }
}
