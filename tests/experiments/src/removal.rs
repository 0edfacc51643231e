//! A device that goes away under a listener and a connection. Ruins the device: runs only when
//! asked.
//!
//! The kernel takes a device from its users in the reverse order of their coming. If `ib_uverbs`
//! came after `rdma_cm`, it waits for our descriptors first, and the CM is told nothing as long as
//! we hold one: with drivers that can't disassociate no event of a removal is ever seen.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use transport::device::{CmEvent, Device, ListenEvent, Stack};
use verbs::Verbs;

use crate::case::{Lab, Outstanding, RECVS};

/// `rdma link del` while everything is in use.
pub(crate) fn removal(lab: &mut Lab) -> Result<()> {
    let stack = Verbs::open()?;
    let listener = stack.listen(lab.next_addr(), 1, 5)?;
    let mut case = lab.begin("device removed", Outstanding::Receives)?;
    let name = case.end.device.name().to_owned();
    // The peer's process holds the device as well.
    case.peer.kill()?;
    case.end.until(Duration::from_secs(3), |end| end.disconnected())?;
    let mut unbind = Command::new("rdma").args(["link", "del", &name]).spawn()?;
    let told =
        case.end.until(Duration::from_secs(3), |end| end.cm.contains(&CmEvent::DeviceRemoval))?;
    let cm_first = cm_is_told_first()?;
    lab.table.row("ib_uverbs loaded before rdma_cm", "either", cm_first, true);
    lab.table.same("DEVICE_REMOVAL at the connection", cm_first, told);
    let gone = listener_gone(&stack)?;
    let number = cm_first.then_some(5);
    lab.table.same("ListenerGone, with the listener's number", number, gone);
    lab.table.same("the unbind waits for us", false, ended(&mut unbind, Duration::ZERO)?);
    lab.table.same("modify to ERR", true, case.error().is_ok());
    lab.table.same("receives flush", RECVS.to_vec(), case.flushed(&RECVS)?);
    lab.finish(case)?;
    drop(listener);
    drop(stack);
    let ends = ended(&mut unbind, Duration::from_secs(3))?;
    // librdmacm keeps the context of the only device open until the process ends.
    lab.table.same("the unbind ends when all is released", false, ends);
    let held = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().contains("uverbs"))
        .count();
    lab.table.row("descriptors of the device still open", "at least 1", held, held > 0);
    // Not waited for: it ends after us.
    Ok(())
}

/// Whether `ib_uverbs` was loaded before `rdma_cm`, by the order of `/proc/modules`, newest first.
fn cm_is_told_first() -> Result<bool> {
    let modules = fs::read_to_string("/proc/modules")?;
    let place = |name: &str| {
        modules
            .lines()
            .position(|line| line.split(' ').next() == Some(name))
            .with_context(|| format!("{name} is no loaded module"))
    };
    Ok(place("ib_uverbs")? > place("rdma_cm")?)
}

fn listener_gone(stack: &Verbs) -> Result<Option<u64>> {
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        if let Some(ListenEvent::ListenerGone { listener }) = stack.next_event()? {
            return Ok(Some(listener));
        }
        crate::end::wait_readable(stack.event_fd(), Duration::from_millis(50))?;
    }
    Ok(None)
}

fn ended(child: &mut Child, limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
