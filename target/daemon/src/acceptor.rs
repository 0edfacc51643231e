//! The one thread that reads the connection manager: it listens, hands each request to a reactor,
//! and passes devices' asynchronous events on.
//!
//! Events are copied and acknowledged before anything is done with them, and nothing here waits for
//! a connection, so no connection waits for another one. It starts without any RDMA device: a
//! listener that can't listen yet says why and is tried again.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token as PollToken, Waker};
use nvme::rdma::{CmReject, RequestPrivateData};
use transport::device::{AsyncEvent, CmId, ConnectRequest, Device, ListenEvent, Stack};
use transport::reaper::Job;

use crate::admission::Admission;
use crate::limits::{LISTEN_BACKLOG, LISTEN_RETRY_FIRST, LISTEN_RETRY_LAST};
use crate::mailbox::{Mailbox, Sender};
use crate::reactor::message::{Incoming, Message};
use crate::reactor::platform::Reap;
use crate::token::Name;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The port's number in the exported model.
    pub port: u16,
    /// The listener's name in the configuration.
    pub name: String,
    /// Address and service id.
    pub address: SocketAddr,
}

/// What a listener does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerState {
    /// It listens.
    Listening,
    /// It is not to listen, because of this; it is not tried again.
    Off(String),
    /// It waits, because of this, and is tried again.
    Waiting(String),
}

/// The listeners' states, for `status`.
pub type ListenerStates = Arc<Mutex<Vec<ListenerState>>>;

/// Opens the RDMA stack; says what an administrator should do when it can't.
pub type OpenStack<S> = Box<dyn Fn() -> Result<S, String> + Send>;

/// What the acceptor works with.
pub struct AcceptorParts<S: Stack> {
    /// Opens the stack.
    pub open: OpenStack<S>,
    /// Where to listen.
    pub listeners: Vec<ListenerSpec>,
    /// The reactors.
    pub reactors: Vec<Sender<Message<S>>>,
    /// Who may come in.
    pub admission: Arc<Admission>,
    /// Destroys what is refused.
    pub reap: Reap<S>,
    /// Where to say what the listeners do.
    pub states: ListenerStates,
}

const STACK: PollToken = PollToken(0);
const WAKE: PollToken = PollToken(1);
const DEVICES: usize = 2;

/// Ends the acceptor's thread.
#[derive(Clone)]
pub struct StopAcceptor(Sender<()>);

impl StopAcceptor {
    /// Stops listening at once.
    pub fn stop(&self) {
        self.0.send(());
    }
}

struct Listening<S: Stack> {
    spec: ListenerSpec,
    listener: Option<S::Listener>,
}

/// The CM thread.
pub struct Acceptor<S: Stack> {
    parts: AcceptorParts<S>,
    /// `None` where nobody waits for events: whoever has it calls [`Acceptor::turn`].
    poll: Option<Poll>,
    mailbox: Mailbox<()>,
    stack: Option<S>,
    listening: Vec<Listening<S>>,
    devices: Vec<S::Device>,
    retry: Duration,
    /// Called when a device goes away.
    removed: Box<dyn Fn() + Send>,
}

impl<S: Stack> Acceptor<S> {
    /// Prepares; nothing is opened yet.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new(parts: AcceptorParts<S>) -> std::io::Result<(Self, StopAcceptor)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let mailbox = Mailbox::new(Box::new(move || drop(waker.wake())));
        let stop = StopAcceptor(mailbox.sender());
        Ok((Self::of_parts(parts, Some(poll), mailbox), stop))
    }

    /// One without a thread, an epoll or a way to stop it but to drop it: its owner says when it
    /// tries to listen ([`Self::listen_all`]) and when it looks at what there is ([`Self::turn`]).
    #[must_use]
    pub fn stepped(parts: AcceptorParts<S>) -> Self {
        Self::of_parts(parts, None, Mailbox::new(Box::new(|| {})))
    }

    fn of_parts(parts: AcceptorParts<S>, poll: Option<Poll>, mailbox: Mailbox<()>) -> Self {
        let listening = parts
            .listeners
            .iter()
            .cloned()
            .map(|spec| Listening { spec, listener: None })
            .collect();
        Self {
            parts,
            poll,
            mailbox,
            stack: None,
            listening,
            devices: Vec::new(),
            retry: LISTEN_RETRY_FIRST,
            removed: Box::new(|| {}),
        }
    }

    /// Has `removed` called whenever a device of a listener or a connection goes away.
    pub fn on_removal(&mut self, removed: Box<dyn Fn() + Send>) {
        self.removed = removed;
    }

    /// Runs until it is stopped; `ready` is called once, after the first try to listen. One that is
    /// stepped has nothing to wait with and returns at once.
    pub fn run(mut self, ready: impl FnOnce()) {
        let mut events = Events::with_capacity(64);
        self.listen_all();
        ready();
        let mut next_try = None;
        loop {
            // A moment, not a pause: what else there is to do must not put it off.
            let at = self
                .is_waiting()
                .then(|| *next_try.get_or_insert_with(|| Instant::now() + self.retry));
            let timeout = at.map(|at| at.saturating_duration_since(Instant::now()));
            let Some(poll) = &mut self.poll else { return };
            if let Err(error) = poll.poll(&mut events, timeout)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the connection-manager thread can't wait for events");
                return;
            }
            self.mailbox.looking();
            if self.mailbox.take().is_some() {
                return;
            }
            self.turn();
            if at.is_some_and(|at| Instant::now() >= at) {
                self.retry = (self.retry * 2).min(LISTEN_RETRY_LAST);
                self.listen_all();
                next_try = None;
            }
        }
    }

    /// Takes everything that the connection manager and the devices have to say now.
    pub fn turn(&mut self) {
        self.read_stack();
        self.read_devices();
    }

    /// A listener does not listen: [`Self::listen_all`] is due after a pause.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.listening.iter().any(|l| l.listener.is_none())
    }

    fn set_state(&self, index: usize, state: ListenerState) {
        let mut states = self.parts.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states[index] == state {
            return;
        }
        let spec = &self.listening[index].spec;
        match &state {
            ListenerState::Listening => {
                tracing::info!(listener = spec.name, address = %spec.address, "listening");
            }
            ListenerState::Waiting(reason) => {
                tracing::warn!(listener = spec.name, address = %spec.address, %reason, "waiting");
            }
            ListenerState::Off(reason) => {
                tracing::info!(listener = spec.name, address = %spec.address, %reason, "off");
            }
        }
        states[index] = state;
    }

    /// Tries every listener that does not listen yet.
    pub fn listen_all(&mut self) {
        if self.stack.is_none()
            && let Err(reason) = self.open_stack()
        {
            for index in 0..self.listening.len() {
                self.set_state(index, ListenerState::Waiting(reason.clone()));
            }
            return;
        }
        let Some(stack) = &self.stack else { return };
        for index in 0..self.listening.len() {
            let waiting = &mut self.listening[index];
            if waiting.listener.is_some() {
                continue;
            }
            let number = u64::try_from(index).unwrap_or(u64::MAX);
            let state = match stack.listen(waiting.spec.address, LISTEN_BACKLOG, number) {
                Ok(listener) => {
                    waiting.listener = Some(listener);
                    self.retry = LISTEN_RETRY_FIRST;
                    ListenerState::Listening
                }
                Err(error) => ListenerState::Waiting(explain(waiting.spec.address, error)),
            };
            self.set_state(index, state);
        }
    }

    fn open_stack(&mut self) -> Result<(), String> {
        let stack = (self.parts.open)()?;
        self.watch(stack.event_fd(), STACK).map_err(|error| format!("epoll: {error}"))?;
        self.stack = Some(stack);
        Ok(())
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: PollToken) -> std::io::Result<()> {
        let Some(poll) = &self.poll else { return Ok(()) };
        poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)
    }

    fn read_stack(&mut self) {
        loop {
            let event = match self.stack.as_ref().map(Stack::next_event) {
                Some(Ok(Some(event))) => event,
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    tracing::error!(%error, "the connection manager's event channel failed");
                    return;
                }
            };
            match event {
                ListenEvent::Request(request) => self.request(request),
                ListenEvent::ListenerGone { listener } => self.listener_gone(listener),
                ListenEvent::Ignored => {}
            }
        }
    }

    fn listener_gone(&mut self, listener: u64) {
        let Ok(index) = usize::try_from(listener) else { return };
        if let Some(listening) = self.listening.get_mut(index) {
            // Every event of it is acknowledged already, so this does not wait for one.
            listening.listener = None;
            self.set_state(index, ListenerState::Waiting("its RDMA device went away".to_owned()));
            (self.removed)();
        }
    }

    fn request(&mut self, request: ConnectRequest<S>) {
        let peer = request.peer;
        let claim = match RequestPrivateData::parse(&request.private_data) {
            Ok(claim) => claim,
            Err(reject) => {
                tracing::warn!(%peer, ?reject, "refused: bad NVMe/RDMA private data");
                self.refuse(request, reject);
                return;
            }
        };
        let device = match request.id.device() {
            Ok(device) => device,
            Err(error) => {
                tracing::debug!(%peer, %error, "the device went away before the accept");
                self.refuse(request, CmReject::NoResources);
                return;
            }
        };
        let port = usize::try_from(request.listener).ok().and_then(|i| self.listening.get(i));
        let Some(port) = port.map(|listening| listening.spec.port) else {
            self.refuse(request, CmReject::NoResources);
            return;
        };
        let Some(ticket) = self.parts.admission.admit(peer.ip()) else {
            tracing::warn!(%peer, "refused: too many connections, or too many of this peer");
            self.refuse(request, CmReject::NoResources);
            return;
        };
        self.watch_device(&device);
        let reactor = ticket.reactor();
        let incoming = Incoming { request, device, port, claim, ticket };
        self.parts.reactors[reactor].send(Message::Connect(Box::new(incoming)));
    }

    fn refuse(&self, request: ConnectRequest<S>, reject: CmReject) {
        let private_data = reject.emit().to_vec();
        (self.parts.reap)(Job::Refuse { id: request.id, private_data }, Arc::new(|_| {}));
    }

    fn watch_device(&mut self, device: &S::Device) {
        if self.devices.iter().any(|d| d.instance() == device.instance()) {
            return;
        }
        let token = PollToken(DEVICES + self.devices.len());
        for fd in device_fds::<S>(device) {
            if let Err(error) = self.watch(fd, token) {
                tracing::warn!(device = device.name(), %error, "can't watch the device's events");
            }
        }
        self.devices.push(device.clone());
    }

    fn read_devices(&mut self) {
        let mut index = 0;
        while index < self.devices.len() {
            if self.read_device(index) { index += 1 } else { self.forget_device(index) }
        }
    }

    /// Says whether the device still lives.
    fn read_device(&self, index: usize) -> bool {
        let device = &self.devices[index];
        match device.take_removal() {
            Ok(true) => {
                tracing::warn!(device = device.name(), "the device is taken away");
                self.tell_all(|| Message::DeviceRemoved(device.instance()));
                (self.removed)();
                return false;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(device = device.name(), %error, "the device's CM channel failed");
            }
        }
        loop {
            match device.next_async_event() {
                Ok(Some(AsyncEvent::QpError(token))) => {
                    let name = Name::from(token);
                    if let Some(reactor) = self.parts.reactors.get(usize::from(name.reactor)) {
                        reactor.send(Message::QueuePairError(name));
                    }
                }
                Ok(Some(AsyncEvent::CommEstablished(token))) => {
                    let name = Name::from(token);
                    if let Some(reactor) = self.parts.reactors.get(usize::from(name.reactor)) {
                        reactor.send(Message::FirstMessage(name));
                    }
                }
                Ok(Some(AsyncEvent::CqError)) => {
                    tracing::error!(device = device.name(), "a completion queue failed");
                    self.tell_all(|| Message::CompletionQueueError(device.instance()));
                }
                Ok(Some(AsyncEvent::DeviceFatal)) => {
                    tracing::error!(device = device.name(), "the device failed or went away");
                    self.tell_all(|| Message::DeviceFatal(device.instance()));
                    return false;
                }
                Ok(Some(AsyncEvent::LastWqeReached(_) | AsyncEvent::SqDrained(_))) => {}
                Ok(Some(AsyncEvent::Other(number))) => {
                    tracing::debug!(device = device.name(), number, "device event");
                }
                Ok(None) => return true,
                Err(error) => {
                    let device = device.name();
                    tracing::warn!(device, %error, "the device's event file failed");
                    return false;
                }
            }
        }
    }

    fn tell_all(&self, message: impl Fn() -> Message<S>) {
        for reactor in &self.parts.reactors {
            reactor.send(message());
        }
    }

    fn forget_device(&mut self, index: usize) {
        let device = self.devices.swap_remove(index);
        let Some(poll) = &self.poll else { return };
        for fd in device_fds::<S>(&device) {
            drop(poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd())));
        }
    }
}

/// Everything of a device that can become readable.
fn device_fds<S: Stack>(device: &S::Device) -> impl Iterator<Item = BorrowedFd<'_>> {
    [Some(device.async_fd()), device.removal_fd()].into_iter().flatten()
}

fn explain(address: SocketAddr, error: transport::device::DeviceError) -> String {
    let hint = match rustix::io::Errno::from_raw_os_error(error.errno) {
        rustix::io::Errno::NODEV | rustix::io::Errno::ADDRNOTAVAIL => {
            "no RDMA device has this address (yet): `rdma link` and `ip address` show what there is"
        }
        rustix::io::Errno::ADDRINUSE => {
            "another program has this port; on iWARP that can be an ordinary TCP listener"
        }
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => {
            "no permission: /dev/infiniband/rdma_cm must be readable and writable"
        }
        _ => "",
    };
    if hint.is_empty() {
        format!("{address}: {error}")
    } else {
        format!("{address}: {error}; {hint}")
    }
}
