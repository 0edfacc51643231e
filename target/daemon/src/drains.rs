//! What became of connections: the account of each end, logged and kept for `status`.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nvme::Qid;
use transport::drain::State;
use transport::report::DrainReport;

use crate::status;

/// Ends of connections so far.
#[derive(Debug, Default)]
pub struct Drains(Mutex<status::Drains>);

impl Drains {
    /// A connection has ended.
    pub(crate) fn ended(&self, now: Duration, peer: SocketAddr, qid: Qid, report: &DrainReport) {
        let total = report.total();
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let to_destroy_ms = report.to_destroy.map_or(0, ms);
        let quarantined = report.end == State::Quarantined;
        let provider = report.provider;
        if quarantined || report.flush_deadline_met {
            let (times, stale) = (&report.times, report.stale);
            tracing::warn!(
                %peer, %qid, provider, to_destroy_ms, ?times, stale,
                "drained late: {report}"
            );
        } else {
            tracing::info!(%peer, %qid, provider, to_destroy_ms, "drained: {report}");
        }
        let mut drains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drains.closed += 1;
        drains.deadline_met += u64::from(report.flush_deadline_met);
        drains.quarantined += u64::from(quarantined);
        drains.slowest_to_destroy_ms = drains.slowest_to_destroy_ms.max(to_destroy_ms);
        drains.push_recent(status::DrainSummary {
            text: report.to_string(),
            at_uptime_s: now.as_secs(),
            peer: peer.to_string(),
            queue: qid.to_string(),
            cause: report.causes.to_string(),
            posted: total.posted,
            completed: total.completed,
            flushed: total.flushed,
            retired_in_order: total.in_order,
            reclaimed: total.reclaimed,
            leaked: total.leaked,
            to_destroy_ms,
        });
    }

    /// The account so far, with what was given up.
    #[must_use]
    pub fn status(&self) -> status::Drains {
        let mut drains = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        drains.work_requests_leaked = transport::in_flight::leaked();
        drains.buffers_leaked = drains.work_requests_leaked;
        drains.disk_operations_leaked = block::leaked_operations();
        drains
    }
}
