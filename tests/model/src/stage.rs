//! What stays from run to run: one fabric with its device, and the reactor's lane.
//!
//! A lane maps and registers memory, which costs more than a whole run: so runs share it. What a
//! failed destroy quarantines is lost to it; when little is left it is made anew.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sim::peer::Region;
use sim::{Fabric, Host, SimListener, SimStack};
use transport::device::{CmId, DeviceError, ListenEvent, QpCaps, Stack, Wc};
use transport::lane::Lane;
use transport::time::Now;

use crate::choices::Choices;
use crate::limits::Bound;
use crate::variant::Variant;

/// Address of the target's device.
pub const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const PORT: u16 = 4420;

/// Room of the queue pair: the work requests of a run, and a receive posted anew.
pub const QP_CAPS: QpCaps = QpCaps { send_wr_max: 4, recv_wr_max: 4, recv_sge_max: 1 };

/// Bytes that quarantined runs may keep of a lane's memory before it is made anew.
const LOST_MAX: usize = 3 << 20;

/// One fabric for many runs of a variant.
pub struct Stage {
    pub(crate) variant: Variant,
    pub(crate) bound: Bound,
    pub(crate) choices: Choices,
    pub(crate) fabric: Fabric,
    pub(crate) stack: SimStack,
    pub(crate) host: Host,
    pub(crate) region: Region,
    pub(crate) lane: RefCell<Lane<SimStack>>,
    /// The fabric's time, which is asked for all the time.
    now: Cell<Now>,
    _listener: SimListener,
}

impl Stage {
    /// Sets it up.
    ///
    /// # Panics
    /// The machine has no memory or descriptors left.
    #[must_use]
    pub fn new(variant: Variant, bound: Bound) -> Self {
        let choices = Choices::default();
        choices.freeze();
        let fabric = Fabric::new(Box::new(choices.clone()));
        fabric.coarse(true);
        let node = fabric.add_node("target");
        fabric.add_device(node, variant.row, TARGET);
        let stack = fabric.stack(node);
        let address = SocketAddr::new(TARGET, PORT);
        let listener = stack.listen(address, 8, 0).expect("nothing fails before a run");
        let host = fabric.add_host(PEER);
        let region = host.register(4096);
        let peer = host.connect(address, sim::peer::ConnectParams::default());
        fabric.run_due();
        let device = match stack.next_event() {
            Ok(Some(ListenEvent::Request(request))) => request.id.device(),
            _ => unreachable!("the request was let through"),
        };
        let device = device.expect("nothing fails before a run");
        let lane = Lane::open(device, 1, 256).expect("memory for one lane");
        drop(peer);
        fabric.forget_connections();
        let stage = Self {
            variant,
            bound,
            choices,
            fabric,
            stack,
            host,
            region,
            lane: RefCell::new(lane),
            now: Cell::default(),
            _listener: listener,
        };
        debug_assert!(QP_CAPS.recv_wr_max as usize > bound.receives);
        stage
    }

    pub(crate) fn now(&self) -> Now {
        self.now.get()
    }

    /// Lets time pass; it never goes back.
    pub(crate) fn set_now(&self, now: Now) {
        self.fabric.set_now(now);
        self.now.set(self.now.get().max(now));
    }

    /// Forgets the run before: time begins anew.
    pub(crate) fn restart(&self) {
        self.fabric.forget_connections();
        self.now.set(Now::default());
    }

    pub(crate) fn poll(&self, out: &mut [Wc]) -> Result<usize, DeviceError> {
        self.lane.borrow_mut().poll(out)
    }

    /// Where the peer connects to.
    pub(crate) fn address() -> SocketAddr {
        SocketAddr::new(TARGET, PORT)
    }

    /// So much is quarantined that it is to be made anew.
    pub(crate) fn is_worn(&self) -> bool {
        self.lane.borrow().pool().used_bytes() > LOST_MAX
    }
}
