//! Discards of devices that can't punch holes: `ioctl(BLKDISCARD)` blocks, and before Linux 6.12 a
//! ring has nothing for it. One thread, begun with the first such discard; no buffers pass through.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Backing, Disk};
use crate::open::probe;

struct Job {
    user_data: u64,
    disk: Arc<Disk>,
    offset_bytes: u64,
    len: u64,
}

#[derive(Default)]
struct Answers {
    done: Mutex<Vec<(u64, i32)>>,
    waiting: AtomicBool,
}

/// The thread and what it has answered.
pub(super) struct DiscardThread {
    jobs: Option<Sender<Job>>,
    answers: Arc<Answers>,
}

impl DiscardThread {
    pub(super) fn new() -> Self {
        Self { jobs: None, answers: Arc::default() }
    }

    /// Hands a discard over; `false` when there is no thread to do it. At most the engine's depth
    /// of them waits.
    pub(super) fn send(
        &mut self,
        event: &OwnedFd,
        user_data: u64,
        disk: Arc<Disk>,
        offset_bytes: u64,
        len: u64,
    ) -> bool {
        if self.jobs.is_none() {
            self.jobs = self.begin(event);
        }
        let job = Job { user_data, disk, offset_bytes, len };
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    fn begin(&self, event: &OwnedFd) -> Option<Sender<Job>> {
        let event = event.try_clone().ok()?;
        let (sender, receiver) = mpsc::channel::<Job>();
        let answers = Arc::clone(&self.answers);
        let life = move || {
            // Ends when the engine drops its sender.
            for job in receiver {
                let answer = (job.user_data, discard(&job));
                drop(job);
                answers.done.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                answers.waiting.store(true, Ordering::Release);
                // EAGAIN only when 2^64 - 2 events wait: it is readable then.
                let _ = rustix::io::write(&event, &1_u64.to_ne_bytes());
            }
        };
        std::thread::Builder::new().name(String::from("discard")).spawn(life).ok()?;
        Some(sender)
    }

    pub(super) fn has_done(&self) -> bool {
        self.answers.waiting.load(Ordering::Acquire)
    }

    pub(super) fn collect(&self, reaped: &mut Vec<(u64, i32)>) {
        if self.answers.waiting.swap(false, Ordering::AcqRel) {
            let mut done = self.answers.done.lock().unwrap_or_else(PoisonError::into_inner);
            reaped.append(&mut done);
        }
    }
}

/// 0 or a negative `errno`, as a ring would say it.
fn discard(job: &Job) -> i32 {
    let Backing::File(opened) = job.disk.backing() else { return -libc::EOPNOTSUPP };
    match probe::block_discard(opened.fd.as_fd(), job.offset_bytes, job.len) {
        Ok(()) => 0,
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::spec::{DiskKind, DiskSpec};

    #[test]
    fn a_discard_by_ioctl_reaches_the_device_and_answers() {
        let backing = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(backing.path(), vec![7; 1 << 20]).unwrap();
        let attach =
            Command::new("losetup").args(["--find", "--show"]).arg(backing.path()).output();
        let Some(attach) = attach.ok().filter(|output| output.status.success()) else {
            return eprintln!(
                "*** SKIPPED, NOT TESTED: BLKDISCARD: no loop device can be had here"
            );
        };
        let path = String::from_utf8(attach.stdout).unwrap().trim().to_owned();
        let kind = DiskKind::Device { path: path.clone().into() };
        let disk = Arc::new(Disk::open(&DiskSpec::new(kind)).unwrap());
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let mut thread = DiscardThread::new();
        assert!(thread.send(&event, 1, Arc::clone(&disk), 65536, 131_072));
        // Not whole sectors: refused by the kernel, which must come back as its errno.
        assert!(thread.send(&event, 2, Arc::clone(&disk), 1, 1));
        let mut answers = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while answers.len() < 2 && Instant::now() < deadline {
            rustix::io::read(&event, &mut [0; 8]).unwrap();
            thread.collect(&mut answers);
        }
        assert_eq!(answers, [(1, 0), (2, -libc::EINVAL)]);
        drop(thread);
        drop(disk);
        Command::new("losetup").args(["--detach", &path]).status().unwrap();
        let stored = std::fs::read(backing.path()).unwrap();
        for (index, byte) in stored.iter().enumerate() {
            let discarded = (65536..65536 + 131_072).contains(&index);
            assert_eq!(*byte, if discarded { 0 } else { 7 }, "byte {index}");
        }
    }
}
