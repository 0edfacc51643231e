//! The stack of this process: opening it, listening, and the listeners' events.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};
use std::{env, fs};

use tracing::debug;
use transport::device::{ConnectRequest, DeviceError, ListenEvent, Stack};

use crate::address;
use crate::cm_id::{self, Id};
use crate::completion::Cq;
use crate::device::Device;
use crate::errors::{OpenError, check};
use crate::events::{Channel, CopiedEvent, lock};
use crate::ffi::{self, rdma_cm_event_type};
use crate::limits::BACKLOG_MAX;
use crate::queue_pair::Qp;

/// Name of the variable that makes libibverbs report a failed destroy as success.
const HIDES_FAILED_DESTROY: &str = "RDMAV_ALLOW_DISASSOC_DESTROY";

/// The RDMA stack of librdmacm and libibverbs.
#[derive(Clone)]
pub struct Verbs {
    inner: Arc<StackInner>,
}

struct StackInner {
    channel: Channel,
    /// Held while an event is read, copied and acknowledged, and while a listener is destroyed: the
    /// two must not overlap (rdma-core, pull request 1182).
    reads: Mutex<()>,
}

impl Verbs {
    /// Opens RDMA on this machine. Nothing of a failure is remembered: call it again later.
    ///
    /// Call it first before other threads run: it removes `RDMAV_ALLOW_DISASSOC_DESTROY` from the
    /// environment, which libibverbs reads once when its first call is made.
    ///
    /// # Errors
    /// What is missing on this machine, in words for its administrator.
    pub fn open() -> Result<Self, OpenError> {
        remove_hiding_variable()?;
        let channel = Channel::open().map_err(|error| diagnose(error, Path::new("/")))?;
        Ok(Self { inner: Arc::new(StackInner { channel, reads: Mutex::new(()) }) })
    }
}

/// Removes the variable, which only a single-threaded process can do soundly.
fn remove_hiding_variable() -> Result<(), OpenError> {
    if env::var_os(HIDES_FAILED_DESTROY).is_none() {
        return Ok(());
    }
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(usize::MAX);
    if threads != 1 {
        return Err(OpenError::DisassociateHidden);
    }
    // SAFETY: this is the only thread of the process, so nobody reads the environment meanwhile.
    unsafe { env::remove_var(HIDES_FAILED_DESTROY) };
    Ok(())
}

/// Tells the reasons apart why an event channel can't be made, from `/sys` and `/dev` below `root`.
fn diagnose(error: DeviceError, root: &Path) -> OpenError {
    if error.errno != libc::ENODEV && error.errno != libc::ENOENT {
        return OpenError::Other(error);
    }
    let Ok(entries) = fs::read_dir(root.join("sys/class/infiniband")) else {
        return OpenError::NoKernelSupport;
    };
    let mut devices: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    devices.sort();
    if devices.is_empty() {
        OpenError::NoDevice
    } else if error.errno == libc::ENOENT || !root.join("dev/infiniband/rdma_cm").exists() {
        OpenError::NoConnectionManager
    } else {
        OpenError::NoProvider { devices: devices.join(", ") }
    }
}

// SAFETY: the promise on memory is that of `ibv_destroy_qp` and of a polled completion (IBTA vol 1
// §10.8, §11.4; shown by `tests/experiments`, barrier.rs): `Qp::destroy` returns Ok only when the
// call returned 0 and was not one that the driver is known to answer with 0 too early. Posts read
// only the descriptors given to them, and nothing of this crate keeps or follows an address of an
// entry.
unsafe impl Stack for Verbs {
    type Listener = Listener;
    type Id = Id;
    type Device = Device;
    type Qp = Qp;
    type Cq = Cq;

    fn listen(
        &self,
        addr: SocketAddr,
        backlog: u32,
        listener: u64,
    ) -> Result<Listener, DeviceError> {
        let ptr = cm_id::create_raw(&self.inner.channel, listener)?;
        let made = Listener { ptr, stack: Arc::clone(&self.inner) };
        let mut storage = address::to_storage(addr);
        let sockaddr = ptr::from_mut(&mut storage).cast();
        // SAFETY: the id lives; the address is a valid one of its family and outlives the call.
        let rc = unsafe { ffi::rdma_bind_addr(ptr.as_ptr(), sockaddr) };
        check("rdma_bind_addr", rc)?;
        let backlog = i32::try_from(backlog.clamp(1, BACKLOG_MAX))
            .expect("the bound of the backlog is far below i32::MAX");
        // SAFETY: the id lives and is bound.
        let rc = unsafe { ffi::rdma_listen(ptr.as_ptr(), backlog) };
        check("rdma_listen", rc)?;
        Ok(made)
    }

    fn next_event(&self) -> Result<Option<ListenEvent<Self>>, DeviceError> {
        // Held to the end: until it is moved, a new id is on the listeners' channel.
        let _one_reader = lock(&self.inner.reads);
        let Some(event) = self.inner.channel.take()? else { return Ok(None) };
        Ok(Some(match event.kind {
            rdma_cm_event_type::RDMA_CM_EVENT_CONNECT_REQUEST => request(event),
            rdma_cm_event_type::RDMA_CM_EVENT_DEVICE_REMOVAL => {
                ListenEvent::ListenerGone { listener: event.context }
            }
            _ => ListenEvent::Ignored,
        }))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.inner.channel.fd()
    }
}

/// Takes over a connection request; one that can't be taken over is refused and ignored.
fn request(event: CopiedEvent) -> ListenEvent<Verbs> {
    let id = match Id::adopt(event.id) {
        Ok(id) => id,
        Err(error) => {
            // A peer can cause this at will once descriptors have run out: not above debug.
            debug!(listener = event.context, %error, "connection request refused");
            return ListenEvent::Ignored;
        }
    };
    let (Some(local), Some(peer)) = (id.local_addr(), id.peer_addr()) else {
        debug!(listener = event.context, "connection request without IP addresses refused");
        return ListenEvent::Ignored;
    };
    ListenEvent::Request(ConnectRequest {
        id,
        listener: event.context,
        private_data: event.private_data,
        initiator_depth: event.initiator_depth,
        responder_resources: event.responder_resources,
        local,
        peer,
    })
}

/// A listening CM id. Dropping it stops listening and refuses the requests that nobody has read.
pub struct Listener {
    ptr: NonNull<ffi::rdma_cm_id>,
    stack: Arc<StackInner>,
}

// SAFETY: librdmacm lets any thread destroy an id; the only call on it after its making is that.
unsafe impl Send for Listener {}

impl Drop for Listener {
    fn drop(&mut self) {
        let _no_reader = lock(&self.stack.reads);
        cm_id::destroy_raw(self.ptr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: i32) -> DeviceError {
        DeviceError { call: "rdma_create_event_channel", errno }
    }

    /// A tree that looks like the `/sys` and `/dev` of a machine.
    fn machine(name: &str, devices: Option<&[&str]>, cm: bool) -> std::path::PathBuf {
        let root = env::temp_dir().join(format!("verbs-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("dev/infiniband")).unwrap();
        if let Some(devices) = devices {
            fs::create_dir_all(root.join("sys/class/infiniband")).unwrap();
            for device in devices {
                fs::create_dir_all(root.join("sys/class/infiniband").join(device)).unwrap();
            }
        }
        if cm {
            fs::write(root.join("dev/infiniband/rdma_cm"), b"").unwrap();
        }
        root
    }

    #[test]
    fn each_missing_part_has_its_own_message() {
        let cases = [
            ("none", None, false, libc::ENODEV, OpenError::NoKernelSupport),
            ("empty", Some(&[][..]), true, libc::ENODEV, OpenError::NoDevice),
            ("nocm", Some(&["rxe0"][..]), false, libc::ENOENT, OpenError::NoConnectionManager),
            (
                "noprov",
                Some(&["mlx5_1", "mlx5_0"][..]),
                true,
                libc::ENODEV,
                OpenError::NoProvider { devices: "mlx5_0, mlx5_1".into() },
            ),
            (
                "perm",
                Some(&["rxe0"][..]),
                true,
                libc::EACCES,
                OpenError::Other(failed(libc::EACCES)),
            ),
        ];
        for (name, devices, cm, errno, expected) in cases {
            let root = machine(name, devices, cm);
            assert_eq!(diagnose(failed(errno), &root), expected, "{name}");
            fs::remove_dir_all(&root).unwrap();
        }
    }

    #[test]
    fn a_machine_without_rdma_is_refused_in_words() {
        if Path::new("/sys/class/infiniband").exists() {
            return;
        }
        let Err(error) = Verbs::open() else { panic!("opened RDMA without a device") };
        assert_eq!(error, OpenError::NoKernelSupport);
        assert!(error.to_string().contains("rdma_rxe"), "{error}");
    }
}
