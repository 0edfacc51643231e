//! An opened device: identity, limits, protection domains and its asynchronous events.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::{fs, mem};

use transport::device::{
    self, AsyncEvent, DeviceAttr, DeviceError, DeviceKey, QpCaps, Token, Transport,
};

use crate::address;
use crate::cm_id::{self, Id};
use crate::completion::Cq;
use crate::errors::check;
use crate::events::{self, Channel, lock, set_nonblocking};
use crate::ffi::{self, ibv_device_cap_flags, ibv_node_type, rdma_cm_event_type};
use crate::queue_pair::Qp;
use crate::region::{Access, Mr, Pd};
use crate::shared_receives::Srq;
use crate::stack::Verbs;

/// `vendor_id` that the kernel's rxe reports (`RXE_VENDOR_ID`).
const VENDOR_RXE: u32 = 0xff_ffff;
/// `vendor_id` that the kernel's siw reports (`SIW_VENDOR_ID`, "bmt").
const VENDOR_SIW: u32 = 0x62_6d74;

/// An opened device. librdmacm opens one context per device and process; this names it and keeps it
/// open with a CM id of its own that is bound to a local address of the device.
#[derive(Clone)]
pub struct Device {
    inner: Arc<DeviceInner>,
}

pub(crate) struct DeviceInner {
    context: NonNull<ffi::ibv_context>,
    instance: u64,
    name: String,
    key: DeviceKey,
    attr: DeviceAttr,
    async_fd: i32,
    async_reads: Mutex<()>,
    removed: AtomicBool,
    /// While it lives, librdmacm keeps the context open. Released last.
    anchor: Anchor,
}

// SAFETY: libibverbs lets any thread use a context (rdma-core, Documentation/libibverbs.md: verbs
// are thread safe).
unsafe impl Send for DeviceInner {}
// SAFETY: as above; the asynchronous events are read under a lock.
unsafe impl Sync for DeviceInner {}

/// Every context that is in use, so that two ids of one device give one `Device`.
static OPENED: Mutex<Vec<Weak<DeviceInner>>> = Mutex::new(Vec::new());
static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(1);

/// Whether anything of a device that is being taken away is still in use by this process.
#[must_use]
pub fn removed_in_use() -> bool {
    let opened = lock(&OPENED);
    opened.iter().filter_map(Weak::upgrade).any(|device| device.removed.load(Ordering::Relaxed))
}

impl Device {
    /// The device of `context`, which some live CM id keeps open during this call; `local` is an
    /// address of ours on it.
    pub(crate) fn of_context(
        context: NonNull<ffi::ibv_context>,
        local: SocketAddr,
    ) -> Result<Self, DeviceError> {
        let mut opened = lock(&OPENED);
        opened.retain(|known| known.strong_count() > 0);
        let known = opened.iter().filter_map(Weak::upgrade).find(|d| d.context == context);
        if let Some(inner) = known {
            return Ok(Self { inner });
        }
        let anchor = Anchor::bind(local, context)?;
        let inner = Arc::new(DeviceInner::open(context, anchor)?);
        opened.push(Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    pub(crate) fn create_qp_of(
        &self,
        id: &Id,
        pd: &Pd,
        cq: &Cq,
        caps: QpCaps,
        token: Token,
        srq: Option<&Srq>,
    ) -> Result<Qp, DeviceError> {
        Qp::create(&self.inner, id, pd, cq, caps, token, srq)
    }
}

impl DeviceInner {
    fn open(context: NonNull<ffi::ibv_context>, anchor: Anchor) -> Result<Self, DeviceError> {
        // SAFETY: the anchor keeps the context open; these fields are constant.
        let (device, async_fd) = unsafe {
            let context = context.as_ref();
            (context.device, context.async_fd)
        };
        let absent = DeviceError { call: "ibv_context.device", errno: libc::ENODEV };
        let device = NonNull::new(device).ok_or(absent)?;
        // SAFETY: the device of an open context lives as long as the context; its fields are
        // constant.
        let device = unsafe { device.as_ref() };
        let transport = transport_of(device.node_type)?;
        let name = text(&device.name);
        let raw = query(context)?;
        set_nonblocking(async_fd)?;
        Ok(Self {
            context,
            instance: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
            key: DeviceKey {
                driver: driver(Path::new("/sys"), &name, raw.vendor_id),
                vendor_id: raw.vendor_id,
                vendor_part_id: raw.vendor_part_id,
                transport,
            },
            name,
            attr: limits(&raw),
            async_fd,
            async_reads: Mutex::new(()),
            removed: AtomicBool::new(false),
            anchor,
        })
    }

    pub(crate) fn context(&self) -> *mut ffi::ibv_context {
        self.context.as_ptr()
    }

    pub(crate) fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Keeps the device open until the process ends.
    pub(crate) fn leak(self: &Arc<Self>) {
        mem::forget(Arc::clone(self));
    }
}

impl device::Device<Verbs> for Device {
    type Pd = Pd;
    type Mr = Mr;

    fn instance(&self) -> u64 {
        self.inner.instance
    }

    fn name(&self) -> &str {
        &self.inner.name
    }

    fn key(&self) -> &DeviceKey {
        &self.inner.key
    }

    fn attr(&self) -> &DeviceAttr {
        &self.inner.attr
    }

    fn alloc_pd(&self) -> Result<Pd, DeviceError> {
        Pd::alloc(&self.inner)
    }

    unsafe fn reg_mr(
        &self,
        pd: &Pd,
        addr: NonNull<u8>,
        len: usize,
        remote_write: bool,
    ) -> Result<Mr, DeviceError> {
        let access = Access { remote_write, remote_read: false };
        // SAFETY: the caller promises that the range stays mapped and writable while the region
        // lives.
        unsafe { Mr::register(pd, addr, len, access) }
    }

    fn lkey(mr: &Mr) -> u32 {
        mr.lkey()
    }

    fn create_cq(&self, depth: u32) -> Result<Cq, DeviceError> {
        Cq::create(&self.inner, depth)
    }

    fn create_qp(
        &self,
        id: &Id,
        pd: &Pd,
        cq: &Cq,
        caps: QpCaps,
        token: Token,
    ) -> Result<Qp, DeviceError> {
        self.create_qp_of(id, pd, cq, caps, token, None)
    }

    fn next_async_event(&self) -> Result<Option<AsyncEvent>, DeviceError> {
        let _one_reader = lock(&self.inner.async_reads);
        events::take_async(self.inner.context)
    }

    fn async_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the context, which the anchor keeps open.
        unsafe { BorrowedFd::borrow_raw(self.inner.async_fd) }
    }

    fn take_removal(&self) -> Result<bool, DeviceError> {
        let mut removed = false;
        while let Some(event) = self.inner.anchor.channel.take()? {
            removed |= event.kind == rdma_cm_event_type::RDMA_CM_EVENT_DEVICE_REMOVAL;
        }
        self.inner.removed.fetch_or(removed, Ordering::Relaxed);
        Ok(removed)
    }

    fn removal_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inner.anchor.channel.fd())
    }
}

/// A CM id bound to an address of the device.
struct Anchor {
    id: NonNull<ffi::rdma_cm_id>,
    /// Closed after the id is destroyed. All that comes is the device's removal: the only sign of
    /// it where nobody is connected.
    channel: Channel,
}

// SAFETY: the id is only destroyed, once, by its owner; any thread may do that (`man rdma_cm`).
unsafe impl Send for Anchor {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for Anchor {}

impl Anchor {
    fn bind(local: SocketAddr, context: NonNull<ffi::ibv_context>) -> Result<Self, DeviceError> {
        let channel = Channel::open()?;
        let id = cm_id::create_raw(&channel, 0)?;
        let anchor = Self { id, channel };
        let mut addr = local;
        addr.set_port(0);
        let mut storage = address::to_storage(addr);
        let sockaddr = ptr::from_mut(&mut storage).cast();
        // SAFETY: the id lives; the address is a valid one of its family and outlives the call.
        let rc = unsafe { ffi::rdma_bind_addr(id.as_ptr(), sockaddr) };
        check("rdma_bind_addr", rc)?;
        // SAFETY: the id lives; binding set the field.
        let bound_to = unsafe { id.as_ref() }.verbs;
        if bound_to != context.as_ptr() {
            // The address moved to another device in between.
            return Err(DeviceError { call: "rdma_bind_addr", errno: libc::ENODEV });
        }
        Ok(anchor)
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        cm_id::destroy_raw(self.id);
    }
}

/// iWARP devices are RNIC nodes (the kernel derives the transport from the node type); InfiniBand
/// and RoCE devices are channel adapters and follow the same rules whatever their link layer.
fn transport_of(node_type: ibv_node_type::Type) -> Result<Transport, DeviceError> {
    match node_type {
        ibv_node_type::IBV_NODE_RNIC => Ok(Transport::Iwarp),
        ibv_node_type::IBV_NODE_CA => Ok(Transport::InfiniBand),
        // Switches, routers, usNIC and unspecified transports have no reliable connections.
        _ => Err(DeviceError { call: "ibv_device.node_type", errno: libc::EOPNOTSUPP }),
    }
}

/// The kernel driver of a device.
///
/// Software devices name themselves by their vendor number: asked first, because siw shows the
/// network card below it as its parent. Everything else is the driver bound to the parent in sysfs,
/// which for a NIC is that of its PCI function (`ice` for irdma, `bnxt_en` for bnxt_re).
fn driver(sys: &Path, name: &str, vendor_id: u32) -> String {
    match vendor_id {
        VENDOR_RXE => return "rdma_rxe".into(),
        VENDOR_SIW => return "siw".into(),
        _ => {}
    }
    fs::read_link(sys.join("class/infiniband").join(name).join("device/driver"))
        .ok()
        .and_then(|link| link.file_name().map(|driver| driver.to_string_lossy().into_owned()))
        .unwrap_or_default()
}

fn query(context: NonNull<ffi::ibv_context>) -> Result<ffi::ibv_device_attr, DeviceError> {
    let mut attr = MaybeUninit::<ffi::ibv_device_attr>::zeroed();
    // SAFETY: the context is open; `attr` has room for the structure.
    let rc = unsafe { ffi::ibv_query_device(context.as_ptr(), attr.as_mut_ptr()) };
    check("ibv_query_device", rc)?;
    // SAFETY: integers only, zeroed and then filled by the successful call.
    Ok(unsafe { attr.assume_init() })
}

fn limits(raw: &ffi::ibv_device_attr) -> DeviceAttr {
    // The C structure has signed counts; a driver that says a negative one has none.
    let count = |value: libc::c_int| u32::try_from(value).unwrap_or(0);
    let max_sge = count(raw.max_sge);
    DeviceAttr {
        max_qp_wr: count(raw.max_qp_wr),
        max_sge,
        // Providers without a limit of their own for READ leave it 0.
        max_sge_rd: if raw.max_sge_rd > 0 { count(raw.max_sge_rd) } else { max_sge },
        max_cqe: count(raw.max_cqe),
        max_qp_init_rd_atom: count(raw.max_qp_init_rd_atom),
        max_qp_rd_atom: count(raw.max_qp_rd_atom),
        max_mr_size: raw.max_mr_size,
        send_with_invalidate: raw.device_cap_flags
            & ibv_device_cap_flags::IBV_DEVICE_MEM_MGT_EXTENSIONS.0
            != 0,
    }
}

/// A C string of bounded length as text for people.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> =
        chars.iter().map(|c| u8::from_ne_bytes(c.to_ne_bytes())).take_while(|&b| b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_devices_are_known_by_their_vendor_not_their_parent() {
        let sys = std::env::temp_dir().join(format!("verbs-sys-{}", std::process::id()));
        let device = sys.join("class/infiniband/siw0/device");
        fs::create_dir_all(&device).unwrap();
        std::os::unix::fs::symlink("../../../bus/virtio/drivers/virtio_net", device.join("driver"))
            .unwrap();
        assert_eq!(driver(&sys, "siw0", VENDOR_SIW), "siw");
        assert_eq!(driver(&sys, "siw0", 0x15b3), "virtio_net");
        assert_eq!(driver(&sys, "rxe0", VENDOR_RXE), "rdma_rxe");
        assert_eq!(driver(&sys, "gone0", 0x15b3), "");
        fs::remove_dir_all(&sys).unwrap();
    }

    #[test]
    fn only_node_types_with_reliable_connections_are_taken() {
        assert_eq!(transport_of(4), Ok(Transport::Iwarp));
        assert_eq!(transport_of(1), Ok(Transport::InfiniBand));
        for other in [-1, 2, 3, 5, 6, 7, 99] {
            assert!(transport_of(other).is_err(), "{other}");
        }
    }

    #[test]
    fn an_unterminated_name_ends_with_its_array() {
        assert_eq!(text(&[b'a' as c_char; 4]), "aaaa");
        assert_eq!(text(&[b'r' as c_char, 0, b'x' as c_char]), "r");
    }
}
