//! An RDMA device that is taken away while this process uses it.
//!
//! Drivers that can't take a device from its users wait, inside the kernel, until the last
//! descriptor of it is closed. Reactors and the connection manager's thread let go of theirs;
//! librdmacm may keep one until the process ends (rdma-core, `librdmacm/cma.c`, `ucma_put_device`:
//! the context of a device is closed only if another device was seen since it went). Then ending
//! the process is the only way to let the removal finish, and the service manager starts another.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::limits::{REMOVAL_LOOK, REMOVAL_LOOK_LAST, REMOVAL_RELEASED_GRACE, SHUTDOWN_TIMEOUT};

/// Tells the watch that a device goes, or may go, away.
#[derive(Clone)]
pub struct Hint(mpsc::Sender<()>);

impl Hint {
    /// Something said that a device goes away.
    pub fn give(&self) {
        // The watch has ended: the daemon is on its way out.
        let _ = self.0.send(());
    }

    /// Gives a hint whenever a verbs node goes, from a thread of its own: a driver that was loaded
    /// before `ib_uverbs` (siw of Linux 6.1) is taken from the verbs first, and the connection
    /// manager is told nothing as long as a descriptor is open.
    ///
    /// # Errors
    /// There is no `/dev/infiniband`, or the system has no descriptor or thread left.
    pub fn watch_nodes(&self) -> io::Result<()> {
        let hint = self.clone();
        let nodes = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&nodes, NODES, inotify::WatchFlags::DELETE)?;
        let body = move || {
            let mut bytes = [MaybeUninit::uninit(); 1024];
            let mut events = inotify::Reader::new(&nodes, &mut bytes);
            loop {
                match events.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_string_lossy());
                        if name.is_some_and(|name| name.starts_with(NODE)) {
                            hint.give();
                        }
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => {
                        tracing::warn!(%error, "verbs nodes are no longer watched");
                        return;
                    }
                }
            }
        };
        thread::Builder::new().name("nodes".to_owned()).spawn(body).map(drop)
    }
}

/// Where the verbs nodes are.
const NODES: &str = "/dev/infiniband";

/// How their names begin.
const NODE: &str = "uverbs";

/// Starts a thread that sleeps until there is a hint, then looks whether the kernel waits for this
/// process. If it still does when `in_use` says that nothing is left of a device that is known to
/// go, or can't be expected to go any more, the thread calls `give_up` with the names and ends.
///
/// # Errors
/// The system has no thread left.
pub fn watch(
    in_use: impl Fn() -> bool + Send + 'static,
    give_up: impl FnOnce(String) + Send + 'static,
) -> io::Result<Hint> {
    let (hint, hints) = mpsc::channel();
    let body = move || {
        let waited_for = || waited_for(Path::new("/"));
        while hints.recv().is_ok() {
            if let Some(devices) = follow(&hints, &in_use, &waited_for) {
                give_up(devices.into_iter().collect::<Vec<_>>().join(", "));
                return;
            }
        }
    };
    thread::Builder::new().name("removals".to_owned()).spawn(body)?;
    Ok(Hint(hint))
}

/// Follows one removal; the devices that only the end of this process can release.
fn follow(
    hints: &mpsc::Receiver<()>,
    in_use: &impl Fn() -> bool,
    waited_for: &impl Fn() -> BTreeSet<String>,
) -> Option<BTreeSet<String>> {
    let mut began = Instant::now();
    let mut released = None;
    let mut told = BTreeSet::new();
    loop {
        match hints.recv_timeout(REMOVAL_LOOK) {
            Ok(()) => began = Instant::now(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        let devices = waited_for();
        if devices.is_empty() && !told.is_empty() {
            tracing::info!(devices = ?told, "the kernel has got the device");
            return None;
        }
        if devices != told {
            tracing::warn!(?devices, "the kernel takes the device away and waits for this process");
            told.clone_from(&devices);
        }
        if in_use() || devices.is_empty() {
            released = None;
        } else {
            released.get_or_insert_with(Instant::now);
        }
        let after = |since: Instant, limit: Duration| since.elapsed() >= limit;
        let in_vain = released.is_some_and(|since| after(since, REMOVAL_RELEASED_GRACE));
        if !devices.is_empty() && (in_vain || after(began, SHUTDOWN_TIMEOUT)) {
            return Some(devices);
        }
        if devices.is_empty() && after(began, REMOVAL_LOOK_LAST) {
            return None;
        }
    }
}

/// Devices whose removal waits for descriptors of this process, below `root`.
///
/// A device that is being removed has lost its verbs node, and keeps its entry in
/// `/sys/class/infiniband` until the removal is over (Linux, `infiniband/core/device.c`,
/// `__ib_unregister_device`).
fn waited_for(root: &Path) -> BTreeSet<String> {
    if !holds_stale_node(root) {
        return BTreeSet::new();
    }
    let nodes = root.join("sys/class/infiniband_verbs");
    let with_node: BTreeSet<String> = names(&nodes)
        .filter_map(|node| fs::read_to_string(nodes.join(node).join("ibdev")).ok())
        .map(|device| device.trim().to_owned())
        .collect();
    names(&root.join("sys/class/infiniband")).filter(|device| !with_node.contains(device)).collect()
}

/// Whether a verbs node is open here that the system does not have any more.
fn holds_stale_node(root: &Path) -> bool {
    let fds = root.join("proc/self/fd");
    let open = names(&fds).filter_map(|fd| fs::read_link(fds.join(fd)).ok());
    let mut nodes = open.filter_map(|target| {
        let name = target.strip_prefix(NODES).ok()?.to_str()?.to_owned();
        name.starts_with(NODE).then_some(name)
    });
    nodes.any(|name| {
        // A name may be used again while the old node is still open.
        name.ends_with(" (deleted)") || !root.join("sys/class/infiniband_verbs").join(name).exists()
    })
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine's `/sys` with these devices and their verbs nodes, and what this process has open.
    fn machine(devices: &[&str], nodes: &[(&str, &str)], open: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("proc/self/fd")).unwrap();
        fs::create_dir_all(at("sys/class/infiniband_verbs")).unwrap();
        fs::write(at("sys/class/infiniband_verbs/abi_version"), "6\n").unwrap();
        for device in devices {
            fs::create_dir_all(at("sys/class/infiniband").join(device)).unwrap();
        }
        for (node, device) in nodes {
            let node = at("sys/class/infiniband_verbs").join(node);
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("ibdev"), format!("{device}\n")).unwrap();
        }
        for (number, target) in open.iter().enumerate() {
            symlink(target, at("proc/self/fd").join(number.to_string())).unwrap();
        }
        root
    }

    fn waited(devices: &[&str], nodes: &[(&str, &str)], open: &[&str]) -> Vec<String> {
        let root = machine(devices, nodes, open);
        waited_for(root.path()).into_iter().collect()
    }

    const NODE: &str = "/dev/infiniband/uverbs0";
    const GONE: &str = "/dev/infiniband/uverbs0 (deleted)";

    #[test]
    fn a_device_in_ordinary_use_is_not_waited_for() {
        let open = ["/dev/null", "/dev/infiniband/rdma_cm", NODE];
        assert_eq!(waited(&["rxe0"], &[("uverbs0", "rxe0")], &open), [""; 0]);
    }

    #[test]
    fn a_device_without_its_node_is_waited_for_while_the_node_is_open_here() {
        assert_eq!(waited(&["rxe0"], &[], &[GONE]), ["rxe0"]);
        // Nodes that nobody unlinks, as in a container.
        assert_eq!(waited(&["rxe0"], &[], &[NODE]), ["rxe0"]);
        assert_eq!(waited(&["rxe0"], &[], &["/dev/infiniband/rdma_cm"]), [""; 0]);
    }

    #[test]
    fn the_node_of_a_newer_device_with_the_old_name_does_not_hide_the_removal() {
        assert_eq!(waited(&["rxe0", "rxe1"], &[("uverbs0", "rxe1")], &[GONE]), ["rxe0"]);
    }

    #[test]
    fn a_device_that_was_taken_from_us_is_not_waited_for() {
        // Drivers that can do that are through with the removal, whatever is open here.
        assert_eq!(waited(&["mlx5_1"], &[("uverbs1", "mlx5_1")], &[GONE]), [""; 0]);
        assert_eq!(waited(&[], &[], &[GONE]), [""; 0]);
    }
}
