//! The state of everything simulated, and what every part of it uses: time, choices, trace.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use transport::device::{AsyncEvent, CmEvent, DeviceError, Token};
use transport::time::Now;

use crate::behaviour::{Axis, Behaviour, QpState};
use crate::completion::CqModel;
use crate::connection::Conn;
use crate::device::DeviceInfo;
use crate::happening::{Pending, Track, What};
use crate::limits::{TRACE_LINES_MAX, VIOLATIONS_MAX};
use crate::oracle::{Call, DELAYS, Delay, Oracle, Question};
use crate::peer::HostState;
use crate::queue_pair::QpModel;
use crate::shadow::Shadow;
use crate::shared_receives::SrqModel;
use crate::violation::{Rule, Violation};

/// One process with an RDMA stack.
#[derive(Debug, Default)]
pub(crate) struct NodeState {
    pub(crate) name: String,
    /// Connections whose request is readable, and listeners that are gone.
    pub(crate) ready: VecDeque<Ready>,
    pub(crate) calls: u64,
    pub(crate) fail_at: Vec<u64>,
}

/// What a listeners' channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The request of this connection.
    Request(usize),
    /// The device of the listener with this number goes away.
    Gone(u64),
}

/// One device.
#[derive(Debug)]
pub(crate) struct DeviceState {
    pub(crate) node: usize,
    pub(crate) row: &'static Behaviour,
    pub(crate) address: IpAddr,
    pub(crate) info: Arc<DeviceInfo>,
    /// It failed: it completes nothing any more.
    pub(crate) fatal: bool,
    /// It is taken away from under us: every call but a destroy fails.
    pub(crate) disassociated: bool,
    /// It goes or is gone: no new connection arrives.
    pub(crate) removed: bool,
    pub(crate) events: VecDeque<AsyncEvent>,
    pub(crate) numbers_free: Vec<u32>,
    pub(crate) number_next: u32,
}

/// One listening id.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) node: usize,
    pub(crate) address: SocketAddr,
    pub(crate) number: u64,
    pub(crate) open: bool,
}

/// A registered region.
#[derive(Debug)]
pub(crate) struct MrModel {
    pub(crate) addr: u64,
    pub(crate) len: u64,
    pub(crate) alive: bool,
}

/// What a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Listeners(usize),
    Id(usize),
    Async(usize),
    Channel(usize),
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Now,
    oracle: Box<dyn Oracle>,
    pub(crate) calm: bool,
    /// A queue is flushed in two steps: the oldest, then all others. The oracle is asked only
    /// between outcomes of an axis that differ.
    pub(crate) coarse: bool,
    /// Handles of an earlier epoch mean nothing any more.
    pub(crate) epoch: u64,
    /// Destroys of queue pairs so far.
    pub(crate) destroys: u64,
    pub(crate) nodes: Vec<NodeState>,
    pub(crate) devices: Vec<DeviceState>,
    pub(crate) listeners: Vec<ListenerState>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) qps: Vec<QpModel>,
    pub(crate) srqs: Vec<SrqModel>,
    pub(crate) cqs: Vec<CqModel>,
    pub(crate) regions: Vec<MrModel>,
    pub(crate) hosts: Vec<HostState>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) shadow: Shadow,
    pub(crate) sources: BTreeMap<RawFd, Source>,
    violations: Vec<Violation>,
    recording: bool,
    trace: VecDeque<String>,
}

impl World {
    pub(crate) fn new(oracle: Box<dyn Oracle>) -> Self {
        Self {
            now: Now::default(),
            oracle,
            calm: false,
            coarse: false,
            epoch: 0,
            destroys: 0,
            nodes: Vec::new(),
            devices: Vec::new(),
            listeners: Vec::new(),
            conns: Vec::new(),
            qps: Vec::new(),
            srqs: Vec::new(),
            cqs: Vec::new(),
            regions: Vec::new(),
            hosts: Vec::new(),
            pending: Vec::new(),
            shadow: Shadow::default(),
            sources: BTreeMap::new(),
            violations: Vec::new(),
            recording: false,
            trace: VecDeque::new(),
        }
    }

    pub(crate) fn set_oracle(&mut self, oracle: Box<dyn Oracle>) {
        self.oracle = oracle;
    }

    // Choices

    /// Asks; a calm world takes the ordinary option of what could be a fault.
    pub(crate) fn choose(&mut self, question: Question, options: usize) -> usize {
        if options <= 1 {
            return 0;
        }
        match question {
            Question::Fault(_) | Question::Mischief(_) if self.calm => 0,
            Question::Delay(_) if self.calm => {
                self.oracle.choose(question, options.min(3)).min(options - 1)
            }
            Question::Next
            | Question::Delay(_)
            | Question::Fault(_)
            | Question::Axis(_)
            | Question::Mischief(_) => self.oracle.choose(question, options).min(options - 1),
        }
    }

    /// One outcome of an axis.
    pub(crate) fn axis<T: Copy>(&mut self, name: &'static str, axis: Axis<T>) -> T {
        axis[self.choose(Question::Axis(name), axis.len())]
    }

    /// As [`Self::axis`]; a coarse world asks once for all outcomes of the same effect.
    pub(crate) fn axis_by<T: Copy, E: PartialEq>(
        &mut self,
        name: &'static str,
        axis: Axis<T>,
        effect: impl Fn(T) -> E,
    ) -> T {
        if !self.coarse {
            return self.axis(name, axis);
        }
        let differs = |at: usize| axis[..at].iter().all(|o| effect(*o) != effect(axis[at]));
        let count = (0..axis.len()).filter(|at| differs(*at)).count();
        let taken = self.choose(Question::Axis(name), count);
        let at = (0..axis.len()).filter(|at| differs(*at)).nth(taken);
        axis[at.expect("as many as were counted")]
    }

    /// Whether the adversary does something of its own.
    pub(crate) fn mischief(&mut self, name: &'static str) -> bool {
        self.choose(Question::Mischief(name), 2) == 1
    }

    /// How long something takes; `None` is never.
    pub(crate) fn delay(&mut self, delay: Delay) -> Option<Duration> {
        let options = DELAYS.len() + usize::from(delay.may_be_never());
        DELAYS.get(self.choose(Question::Delay(delay), options)).copied()
    }

    // What is to happen

    /// Something will happen after a delay of this kind, or never.
    pub(crate) fn soon(&mut self, delay: Delay, track: Track, what: What) {
        if let Some(span) = self.delay(delay) {
            self.after(span, track, what);
        }
    }

    /// As [`Self::soon`], and at once when there is no delay and nothing waits before it: for what
    /// nobody can tell apart from what caused it.
    pub(crate) fn at_once(&mut self, delay: Delay, track: Track, what: What) {
        match self.delay(delay) {
            Some(Duration::ZERO) if !self.pending.iter().any(|p| p.track == track) => {
                self.perform(what);
            }
            Some(span) => self.after(span, track, what),
            None => {}
        }
    }

    /// Something will happen after this time.
    pub(crate) fn after(&mut self, span: Duration, track: Track, what: What) {
        let at = self.now + span;
        self.pending.push(Pending { track, at, what });
    }

    /// Forgets what was to happen.
    pub(crate) fn cancel(&mut self, unwanted: impl Fn(&What) -> bool) {
        self.pending.retain(|pending| !unwanted(&pending.what));
    }

    /// Indices of the oldest of each track.
    fn oldest(&self) -> impl Iterator<Item = usize> {
        let pending = &self.pending;
        let first = |at: usize| pending[..at].iter().all(|p| p.track != pending[at].track);
        (0..pending.len()).filter(move |at| first(*at))
    }

    /// Indices of what may happen now: of each track the oldest.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = usize> {
        self.oldest().filter(|at| self.pending[*at].at <= self.now)
    }

    /// When the next thing may happen.
    pub(crate) fn due(&self) -> Option<Now> {
        self.oldest().map(|at| self.pending[at].at).min()
    }

    // Calls

    /// Counts a call of a node and says whether it fails, by plan or by number.
    pub(crate) fn call(&mut self, node: usize, call: Call) -> Result<(), DeviceError> {
        let state = &mut self.nodes[node];
        state.calls += 1;
        let number = state.calls;
        let planned = state.fail_at.contains(&number);
        if planned || self.choose(Question::Fault(call), 2) == 1 {
            self.note(|| format!("call {number}: {} fails", call.name()));
            return Err(failed(call));
        }
        Ok(())
    }

    /// As [`Self::call`], of the node and state that a device has.
    pub(crate) fn device_call(&mut self, device: usize, call: Call) -> Result<(), DeviceError> {
        self.call(self.devices[device].node, call)?;
        if self.devices[device].disassociated && call != Call::Destroy {
            return Err(error(call, rustix::io::Errno::IO));
        }
        Ok(())
    }

    // Results

    /// A rule was broken.
    pub(crate) fn violate(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        if self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let violation = Violation { rule, at: self.now, what: what() };
        self.note(|| format!("VIOLATION {violation}"));
        self.violations.push(violation);
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn forget_results(&mut self) {
        self.violations.clear();
        self.trace.clear();
    }

    pub(crate) fn record(&mut self, on: bool) {
        self.recording = on;
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.trace.iter().cloned().collect()
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if !self.recording {
            return;
        }
        if self.trace.len() >= TRACE_LINES_MAX {
            self.trace.pop_front();
        }
        let micros = self.now.0.as_micros();
        self.trace.push_back(format!(
            "{:>6}.{:06} {}",
            micros / 1_000_000,
            micros % 1_000_000,
            line()
        ));
    }

    // Lookups

    /// The row of a queue pair.
    pub(crate) fn row_of(&self, qp: usize) -> &'static Behaviour {
        self.devices[self.qps[qp].device].row
    }

    /// The token of a queue pair that is there and in this state or behind it.
    pub(crate) fn token_of(&self, qp: usize) -> Token {
        self.qps[qp].token
    }

    /// The queue pair of a connection is there and neither destroyed nor in error.
    pub(crate) fn qp_receives(&self, qp: usize) -> bool {
        let qp = &self.qps[qp];
        qp.is_alive() && matches!(qp.state, QpState::Init | QpState::Rts)
    }

    /// Raises an event of a connection's id, sooner or later or never; sometimes twice.
    pub(crate) fn raise_cm(&mut self, conn: usize, event: CmEvent) {
        if self.conns[conn].deaf {
            return;
        }
        self.soon(Delay::CmEvent, Track::Cm(conn), What::Cm { conn, event });
        if self.mischief("a CM event comes twice") {
            self.soon(Delay::CmEvent, Track::Cm(conn), What::Cm { conn, event });
        }
    }

    /// Raises an asynchronous event, sooner or later or never.
    pub(crate) fn raise_async(&mut self, device: usize, event: AsyncEvent) {
        let what = What::Async { device, event };
        if matches!(event, AsyncEvent::SqDrained(_) | AsyncEvent::CommEstablished(_)) {
            self.at_once(Delay::AsyncEvent, Track::Async(device), what);
        } else {
            self.soon(Delay::AsyncEvent, Track::Async(device), what);
        }
    }
}

/// The errno that a call fails with when the plan says so.
fn failed(call: Call) -> DeviceError {
    let errno = match call {
        Call::RegMr | Call::PostSend | Call::PostRecv | Call::CreateCq | Call::AllocPd => {
            rustix::io::Errno::NOMEM
        }
        Call::Accept => rustix::io::Errno::CONNRESET,
        Call::CreateQp => rustix::io::Errno::INVAL,
        Call::Listen => rustix::io::Errno::ADDRNOTAVAIL,
        Call::Device => rustix::io::Errno::NODEV,
        Call::Reject | Call::Disconnect | Call::Modify | Call::Destroy | Call::Arm | Call::Poll => {
            rustix::io::Errno::IO
        }
    };
    error(call, errno)
}

/// A failed call.
pub(crate) fn error(call: Call, errno: rustix::io::Errno) -> DeviceError {
    DeviceError { call: call.name(), errno: errno.raw_os_error() }
}
