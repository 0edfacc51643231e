//! What became of connections: the account of each end, logged, counted and kept for
//! `sluice drains`.

mod record;
mod utc;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvme::{Cntlid, HostNqn, Qid, SubNqn};
use transport::cause::Cause;
use transport::drain::State;
use transport::report::DrainReport;

pub use record::{Account, Deadline, DrainList, DrainRecord, Outcome, Returned, Stay};

use crate::limits::{DRAINS_KEPT, DRAINS_KEPT_UNCLEAN};
use crate::status;
use utc::Utc;

/// States that have a deadline, and are counted from the start.
const WITH_DEADLINE: [State; 6] = [
    State::Accepting,
    State::Quiesce,
    State::Linger,
    State::Closing,
    State::Flushing,
    State::SrqWait,
];

/// Which closes are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct DrainQuery {
    /// The one of this number only.
    pub id: Option<u64>,
    /// The newest, no more than so many; all that are kept where it is absent.
    pub limit: Option<u64>,
}

/// Whose connection it was.
#[derive(Clone, Debug)]
pub struct Whose {
    /// Index of its reactor.
    pub reactor: u8,
    /// Address of the host.
    pub peer: SocketAddr,
    /// Queue ID.
    pub qid: Qid,
    /// RDMA device.
    pub device: Box<str>,
    /// Its number there.
    pub qp_number: u32,
    /// What its Connect command said; none when none came.
    pub connect: Option<Box<Connected>>,
}

/// What a Connect command said, and what came of it.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The host.
    pub host: HostNqn,
    /// The subsystem it asked for.
    pub subsystem: SubNqn,
    /// The controller, where it was granted.
    pub cntlid: Option<Cntlid>,
}

/// The end of one connection.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its number, from 1.
    pub id: u64,
    /// When, by the daemon's clock.
    pub at: Duration,
    /// Whose.
    pub whose: Whose,
    /// How.
    pub report: DrainReport,
}

/// Ends of connections so far.
#[derive(Debug)]
pub struct Drains(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    counts: status::Drains,
    /// Oldest first. What is not clean stays longer: a peer that comes and goes must not push out
    /// what somebody should look at.
    recent: VecDeque<Arc<Ended>>,
}

impl Default for Drains {
    fn default() -> Self {
        let mut counts = status::Drains::default();
        let zero = |name: &str| (name.to_owned(), 0);
        counts.deadlines = WITH_DEADLINE.map(State::as_str).map(zero).into();
        counts.first_causes = Cause::ALL.iter().map(|cause| zero(cause.as_str())).collect();
        Self(Mutex::new(Kept { counts, recent: VecDeque::new() }))
    }
}

impl Drains {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, now: Duration, whose: Whose, report: DrainReport) {
        let ended = {
            let mut kept = self.kept();
            kept.count(&report);
            let id = kept.counts.closed;
            let ended = Arc::new(Ended { id, at: now, whose, report });
            kept.keep(Arc::clone(&ended));
            ended
        };
        log(&ended);
    }

    /// The counts so far, with what was given up.
    #[must_use]
    pub fn status(&self) -> status::Drains {
        let mut drains = self.kept().counts.clone();
        drains.work_requests_leaked = transport::in_flight::leaked();
        drains.buffers_leaked = drains.work_requests_leaked;
        drains.disk_operations_leaked = block::leaked_operations();
        drains
    }

    /// What is kept of the ends asked for, newest first. `uptime` is now by the daemon's clock.
    #[must_use]
    pub fn list(&self, query: DrainQuery, uptime: Duration) -> DrainList {
        let limit = query.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let (closed, kept, found) = {
            let kept = self.kept();
            let newest = kept.recent.iter().rev();
            let asked = newest.filter(|ended| query.id.is_none_or(|id| id == ended.id));
            let found: Vec<_> = asked.take(limit).cloned().collect();
            (kept.counts.closed, kept.recent.len(), found)
        };
        let started = Utc::at_zero_of(uptime);
        DrainList {
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            closed,
            kept: u64::try_from(kept).unwrap_or(u64::MAX),
            drains: found.iter().map(|ended| DrainRecord::of(ended, started)).collect(),
        }
    }

    /// All that is kept, oldest first, as the transport reported it.
    #[must_use]
    pub fn recent(&self) -> Vec<Arc<Ended>> {
        self.kept().recent.iter().cloned().collect()
    }
}

impl Kept {
    fn count(&mut self, report: &DrainReport) {
        let counts = &mut self.counts;
        counts.closed += 1;
        match record::outcome(report) {
            Outcome::Clean => counts.clean += 1,
            Outcome::Late => counts.late += 1,
            Outcome::Quarantined => counts.quarantined += 1,
        }
        counts.deadline_met += u64::from(report.flush_deadline_met);
        for met in report.deadlines_met() {
            *counts.deadlines.entry(met.state.as_str().to_owned()).or_default() += 1;
        }
        if let Some(cause) = report.causes.first() {
            *counts.first_causes.entry(cause.as_str().to_owned()).or_default() += 1;
        }
        counts.slowest_to_destroy_ms = counts.slowest_to_destroy_ms.max(to_destroy_ms(report));
    }

    fn keep(&mut self, ended: Arc<Ended>) {
        if self.recent.len() >= DRAINS_KEPT {
            let clean = |e: &Arc<Ended>| record::outcome(&e.report) == Outcome::Clean;
            let unclean = self.recent.iter().filter(|e| !clean(e)).count();
            let oldest_clean = self.recent.iter().position(clean);
            let victim = oldest_clean.filter(|_| unclean <= DRAINS_KEPT_UNCLEAN).unwrap_or(0);
            self.recent.remove(victim);
        }
        self.recent.push_back(ended);
    }
}

fn to_destroy_ms(report: &DrainReport) -> u64 {
    report.to_destroy.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// The line of a connection's death: `error` when memory was lost, `warn` when a wait ended at its
/// deadline.
fn log(ended: &Ended) {
    let Ended { id, whose, report, .. } = ended;
    let Whose { peer, qid, device, connect, .. } = whose;
    let host = connect.as_ref().map(|c| tracing::field::display(&c.host));
    let (provider, to_destroy_ms) = (report.provider, to_destroy_ms(report));
    match record::outcome(report) {
        Outcome::Clean => tracing::info!(
            id, %peer, host, %qid, device, provider, to_destroy_ms, "drained: {report}"
        ),
        Outcome::Late => {
            let met: Vec<_> = report.deadlines_met().collect();
            let (times, stale) = (&report.times, report.stale);
            tracing::warn!(
                id, %peer, host, %qid, device, provider, to_destroy_ms, ?met, ?times, stale,
                "drained late: {report}"
            );
        }
        Outcome::Quarantined => {
            let (end, destroy, times) = (report.end.as_str(), &report.destroy, &report.times);
            tracing::error!(
                id, %peer, host, %qid, device, provider, to_destroy_ms, end, ?destroy, ?times,
                "drained with loss: {report}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use transport::caps;
    use transport::drain::{Drain, Input};
    use transport::in_flight::{InFlight, QueueCounts};
    use transport::proof::Epoch;
    use transport::report::Destroy;
    use transport::time::Now;

    use super::*;

    fn ms(millis: u64) -> Now {
        Now(Duration::from_millis(millis))
    }

    fn report(now: Now, drain: &Drain, destroy: Option<Destroy>) -> DrainReport {
        let table = InFlight::new(Epoch::next(), 0, 1, true, std::rc::Rc::default());
        DrainReport::new(now, drain, &table, destroy)
    }

    /// Live from 10 ms to 1 s, then closed: flushed, destroyed in 20 ms, dead.
    fn clean(cause: Cause) -> DrainReport {
        let mut drain = Drain::new(ms(0), &caps::MLX5);
        drain.handle(ms(10), Input::Established);
        drain.handle(ms(1000), Input::Polled { send_out: 0, recv_out: 8 });
        drain.handle(ms(1000), Input::Close(cause));
        drain.handle(ms(1001), Input::Modified(Ok(())));
        drain.handle(ms(1002), Input::Close(Cause::FlushedByDevice));
        drain.handle(ms(1004), Input::Polled { send_out: 0, recv_out: 0 });
        drain.handle(ms(1024), Input::Destroyed(true));
        drain.handle(ms(1025), Input::IdDestroyed);
        let destroy = Destroy { took: Duration::from_millis(19), failure: None };
        let mut report = report(ms(1025), &drain, Some(destroy));
        report.recv = QueueCounts { posted: 9, completed: 1, flushed: 8, ..Default::default() };
        report
    }

    /// Two sends and five receives never come back.
    fn late() -> DrainReport {
        let mut drain = Drain::new(ms(0), &caps::SIW);
        drain.handle(ms(0), Input::Established);
        drain.handle(ms(0), Input::Close(Cause::KeepAliveExpired));
        drain.handle(ms(0), Input::Modified(Ok(())));
        drain.handle(ms(0), Input::Polled { send_out: 2, recv_out: 5 });
        drain.handle(ms(60_000), Input::Timeout);
        drain.handle(ms(60_001), Input::Destroyed(true));
        drain.handle(ms(60_002), Input::IdDestroyed);
        report(ms(60_002), &drain, None)
    }

    fn quarantined() -> DrainReport {
        let mut drain = Drain::new(ms(0), &caps::MLX5);
        drain.handle(ms(0), Input::Close(Cause::DeviceFatal));
        drain.handle(ms(0), Input::Modified(Err(5)));
        drain.handle(ms(1), Input::Destroyed(false));
        report(ms(1), &drain, None)
    }

    /// An orderly shutdown on iWARP whose peer leaves the close to us.
    fn lingered() -> DrainReport {
        let mut drain = Drain::new(ms(0), &caps::SIW);
        drain.handle(ms(0), Input::Established);
        drain.handle(ms(0), Input::Finish(Cause::Shutdown));
        drain.handle(ms(60_000), Input::Timeout);
        drain.handle(ms(60_001), Input::Close(Cause::PeerDisconnected));
        drain.handle(ms(60_001), Input::Modified(Ok(())));
        drain.handle(ms(60_001), Input::Polled { send_out: 0, recv_out: 0 });
        drain.handle(ms(60_002), Input::Destroyed(true));
        drain.handle(ms(60_002), Input::IdDestroyed);
        report(ms(60_002), &drain, None)
    }

    fn whose() -> Whose {
        Whose {
            reactor: 1,
            peer: "192.0.2.9:5000".parse().unwrap(),
            qid: Qid(2),
            device: "mlx5_0".into(),
            qp_number: 77,
            connect: Some(Box::new(Connected {
                host: HostNqn::new("nqn.2014-08.org.example:host").unwrap(),
                subsystem: SubNqn::new("nqn.2014-08.org.example:disk").unwrap(),
                cntlid: Some(Cntlid(3)),
            })),
        }
    }

    fn ended(reports: impl IntoIterator<Item = DrainReport>) -> Drains {
        let drains = Drains::default();
        for report in reports {
            drains.ended(Duration::from_secs(61), whose(), report);
        }
        drains
    }

    fn ids(list: &DrainList) -> Vec<u64> {
        list.drains.iter().map(|drain| drain.id).collect()
    }

    #[test]
    fn every_end_has_one_outcome_and_one_first_cause() {
        let drains = ended([
            clean(Cause::PeerDisconnected),
            clean(Cause::PeerDisconnected),
            clean(Cause::Idle),
            late(),
            quarantined(),
            lingered(),
        ]);
        let counts = drains.status();
        assert_eq!((counts.closed, counts.clean), (6, 4));
        assert_eq!((counts.late, counts.quarantined, counts.deadline_met), (1, 1, 1));
        assert_eq!(counts.deadlines["flushing"], 1);
        assert_eq!(counts.deadlines["linger"], 1);
        assert_eq!(counts.deadlines["quiesce"], 0, "a state that never met one is there as 0");
        assert_eq!(counts.first_causes["peer disconnected"], 2);
        assert_eq!(counts.first_causes["device fatal"], 1);
        assert_eq!(counts.first_causes["flushed by the device"], 0, "merged ones do not count");
        assert_eq!(counts.first_causes.len(), Cause::ALL.len());
        assert_eq!(counts.first_causes.values().sum::<u64>(), 6);
    }

    #[test]
    fn memory_that_leaked_makes_an_end_no_clean_one() {
        let mut report = clean(Cause::Shutdown);
        report.send.leaked = 1;
        assert_eq!(ended([report]).status().quarantined, 1);
    }

    #[test]
    fn a_record_tells_the_whole_close() {
        let list = ended([clean(Cause::PeerDisconnected)])
            .list(DrainQuery::default(), Duration::from_secs(70));
        assert_eq!((list.uptime_ms, list.closed, list.kept), (70_000, 1, 1));
        let drain = &list.drains[0];
        assert_eq!((drain.id, drain.at_uptime_ms, drain.outcome), (1, 61_000, Outcome::Clean));
        assert_eq!((drain.cntlid, drain.qid, drain.reactor, drain.qp_number), (Some(3), 2, 1, 77));
        assert_eq!((drain.device.as_str(), drain.provider.as_str()), ("mlx5_0", "mlx5"));
        assert_eq!(drain.host_nqn, "nqn.2014-08.org.example:host");
        assert_eq!(drain.subsystem_nqn, "nqn.2014-08.org.example:disk");
        assert_eq!(drain.peer, "192.0.2.9:5000");
        assert_eq!(drain.cause, "peer disconnected");
        assert_eq!(drain.merged_causes, ["flushed by the device"]);
        let path: Vec<_> =
            drain.path.iter().map(|s| (s.state.as_str(), s.entered_us, s.lasted_us)).collect();
        let wanted = [
            ("accepting", -1_000_000, 10_000),
            ("live", -990_000, 990_000),
            ("erroring", 0, 1_000),
            ("flushing", 1_000, 3_000),
            ("destroying", 4_000, 20_000),
            ("id closing", 24_000, 1_000),
            ("reclaiming", 25_000, 0),
            ("dead", 25_000, 0),
        ];
        assert_eq!(path, wanted);
        assert_eq!((drain.send.posted, drain.receive.flushed), (0, 8));
        assert_eq!((drain.to_destroy_us, drain.destroy_us), (Some(4_000), Some(19_000)));
        assert!(drain.move_to_error.as_ref().unwrap().ok && drain.destroy.as_ref().unwrap().ok);
        assert!(drain.deadlines.is_empty());
    }

    #[test]
    fn a_record_says_what_a_deadline_waited_for_and_what_failed() {
        let list = ended([late(), quarantined()]).list(DrainQuery::default(), Duration::ZERO);
        let [quarantined, late] = &list.drains[..] else { panic!("{list:?}") };
        assert_eq!(late.deadlines.len(), 1);
        assert_eq!(late.deadlines[0].state, "flushing");
        assert_eq!(late.deadlines[0].waited_for, "completions of 2 sends and 5 receives");
        assert_eq!(quarantined.outcome, Outcome::Quarantined);
        let error = quarantined.move_to_error.as_ref().unwrap().error.as_ref().unwrap();
        assert!(error.contains("os error 5"), "{error}");
        assert_eq!(quarantined.path.last().unwrap().state, "quarantined");
    }

    #[test]
    fn the_newest_come_first_and_no_more_than_asked_for() {
        let drains = ended((0..10).map(|_| clean(Cause::Idle)));
        let limited = DrainQuery { id: None, limit: Some(3) };
        assert_eq!(ids(&drains.list(limited, Duration::ZERO)), [10, 9, 8]);
        let one = DrainQuery { id: Some(4), limit: None };
        assert_eq!(ids(&drains.list(one, Duration::ZERO)), [4]);
        let none = DrainQuery { id: Some(11), limit: None };
        let list = drains.list(none, Duration::ZERO);
        assert_eq!((ids(&list), list.closed, list.kept), (vec![], 10, 10));
    }

    #[test]
    fn clean_ends_do_not_push_out_those_that_were_not() {
        let bad = u64::try_from(DRAINS_KEPT_UNCLEAN).unwrap();
        let drains = ended((0..bad).map(|_| late()));
        for _ in 0..2 * DRAINS_KEPT {
            drains.ended(Duration::ZERO, whose(), clean(Cause::Idle));
        }
        let kept = ids(&drains.list(DrainQuery::default(), Duration::ZERO));
        assert_eq!(kept.len(), DRAINS_KEPT);
        assert_eq!(kept.iter().filter(|id| **id <= bad).count(), DRAINS_KEPT_UNCLEAN);
        assert!(kept.is_sorted_by(|newer, older| newer > older));
        // The oldest go when all are bad.
        for _ in 0..2 * DRAINS_KEPT {
            drains.ended(Duration::ZERO, whose(), late());
        }
        let last = drains.status().closed;
        let kept = ids(&drains.list(DrainQuery::default(), Duration::ZERO));
        let first_kept = last + 1 - u64::try_from(DRAINS_KEPT).unwrap();
        assert_eq!(kept, (first_kept..=last).rev().collect::<Vec<_>>());
    }

    /// The lines that the ends of `reports` write.
    fn lines(reports: impl IntoIterator<Item = DrainReport>) -> String {
        #[derive(Clone, Default)]
        struct Taken(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Taken {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let taken = Taken::default();
        let writer = taken.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        // With a second one alive, a thread that logs without any does not switch the line off for
        // this one too: tracing asks all of them, and not only that thread's.
        let _other = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(log.finish(), || drop(ended(reports)));
        let bytes = taken.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_loss_is_an_error_a_deadline_a_warning_and_a_clean_end_is_information() {
        for (report, level, part) in [
            (clean(Cause::Idle), " INFO ", "drained: idle (then flushed by the device): posted 9"),
            (late(), " WARN ", "drained late: keep-alive expired"),
            (quarantined(), " ERROR ", "drained with loss: device fatal"),
        ] {
            let text = lines([report]);
            assert_eq!(text.lines().count(), 1, "{text}");
            for part in [level, part, "id=1", "host=nqn.2014-08.org.example:host", "qid=2"] {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
            assert!(text.contains("device=\"mlx5_0\"") && text.contains("provider="), "{text}");
        }
        assert!(lines([late()]).contains("Flushes { sends: 2, receives: 5 }"));
    }

    #[test]
    fn numbers_are_given_once_whatever_reactor_ends_a_connection() {
        let drains = Drains::default();
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while made.fetch_add(1, Ordering::Relaxed) < 200 {
                        drains.ended(Duration::ZERO, whose(), late());
                    }
                });
            }
        });
        let kept = ids(&drains.list(DrainQuery::default(), Duration::ZERO));
        assert_eq!(kept, (1..=200).rev().collect::<Vec<_>>());
    }
}
