//! Opening a regular file as a disk.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{cut_to_blocks, explain_open, probe, system, until_free};
use crate::disk::{Backing, DirectUse, Features, Geometry, Opened, Parts};
use crate::error::OpenError;
use crate::limits;
use crate::spec::{Direct, DiskSpec};

/// Opens (or creates, sparse) a regular file, locked against a second use.
pub(crate) fn open(
    spec: &DiskSpec,
    path: &Path,
    create_size_bytes: Option<u64>,
) -> Result<Parts, OpenError> {
    refuse_other_kinds(path)?;
    let (fd, created) = open_or_create(spec, path, create_size_bytes)?;
    lock(path, &fd, spec.read_only)?;
    let size_bytes = size_of_file(path, &fd)?;
    let what = path.display().to_string();
    let (block_size, block_count, mut notes) = cut_to_blocks(spec, &what, size_bytes, 512)?;
    if let Some(wanted) = create_size_bytes.filter(|wanted| *wanted != size_bytes && !created) {
        notes.push(format!(
            "{what}: exists with {size_bytes} bytes and keeps them; `size` ({wanted} bytes) only \
             counts when the file is created"
        ));
    }
    let choice = choose_direct(spec, path, &fd, block_size)?;
    notes.extend(choice.note(&what));
    // Beyond the end there is nothing that a probe could lose.
    let beyond_end = size_bytes.next_multiple_of(u64::from(limits::BLOCK_SIZE_MAX));
    let punches = !spec.read_only && probe::punches_holes(fd.as_fd(), beyond_end);
    let features = Features {
        volatile_cache: true,
        discard: punches,
        discard_zeroes: punches,
        write_zeroes: !spec.read_only,
        fua: true,
        read_only: spec.read_only,
        direct: choice.use_of(),
    };
    let physical_block_size = physical_block(&fd, block_size);
    let geometry = Geometry { block_size, physical_block_size, block_count, features };
    let description =
        format!("file {what}, {} bytes, {}", geometry.size_bytes(), choice.describe());
    let backing = Backing::File(choice.opened(fd, false));
    Ok(Parts { geometry, backing, description, notes })
}

/// Looks before opening: to open a FIFO or a tape has effects of its own.
fn refuse_other_kinds(path: &Path) -> Result<(), OpenError> {
    let kind = match rustix::fs::stat(path) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(explain_open(path, true, errno)),
    };
    if kind == FileType::RegularFile {
        return Ok(());
    }
    let (found, mend) = if kind == FileType::BlockDevice {
        ("a block device", "export it with `device = …`")
    } else if kind == FileType::Directory {
        ("a directory", "name a file in it")
    } else {
        ("a special file", "name a regular file")
    };
    Err(OpenError::WrongKind { path: path.into(), found, wanted: "a regular file", mend })
}

fn open_or_create(
    spec: &DiskSpec,
    path: &Path,
    create_size_bytes: Option<u64>,
) -> Result<(OwnedFd, bool), OpenError> {
    let access = if spec.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => return Ok((fd, false)),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(explain_open(path, spec.read_only, errno)),
    }
    let Some(size_bytes) = create_size_bytes else {
        return Err(OpenError::NotFound { path: path.into() });
    };
    let (block_size, block_count, _) =
        cut_to_blocks(spec, &path.display().to_string(), size_bytes, 512)?;
    let whole = block_count * u64::from(block_size);
    let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, create, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| explain_open(path, false, errno))?;
    if let Err(errno) = rustix::fs::ftruncate(&fd, whole) {
        let _ = rustix::fs::unlink(path);
        let what = path.display().to_string();
        return Err(OpenError::NoRoom { what, size_bytes, source: errno.into() });
    }
    Ok((fd, true))
}

/// One writer or any number of readers, also within this process (`man flock`).
fn lock(path: &Path, fd: &OwnedFd, read_only: bool) -> Result<(), OpenError> {
    let how = if read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match until_free(Errno::WOULDBLOCK, || rustix::fs::flock(fd, how)) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let by = "another disk of this daemon or another process (flock)";
            Err(OpenError::InUse { path: path.into(), by })
        }
        // A file system without locks (some network ones): nothing can be proved there.
        Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(system(path, "flock", errno)),
    }
}

fn size_of_file(path: &Path, fd: &OwnedFd) -> Result<u64, OpenError> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| system(path, "fstat", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let (found, mend) = ("something else by now", "let nothing replace it");
        let wanted = "a regular file";
        return Err(OpenError::WrongKind { path: path.into(), found, wanted, mend });
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// The file system's block, where it is one that hosts understand.
fn physical_block(fd: &OwnedFd, block_size: u32) -> u32 {
    let blksize = rustix::fs::fstat(fd).map_or(0, |stat| stat.st_blksize);
    let found = u32::try_from(blksize).unwrap_or(0);
    if found == limits::BLOCK_SIZE_MAX { found } else { block_size }
}

/// Whether direct I/O is used, and why not.
pub(super) struct DirectChoice {
    memory_align: usize,
    /// Why it is buffered; `None` when direct.
    why_buffered: Option<String>,
    asked_off: bool,
}

impl DirectChoice {
    pub(super) fn use_of(&self) -> DirectUse {
        if self.why_buffered.is_none() { DirectUse::Direct } else { DirectUse::Buffered }
    }

    pub(super) fn describe(&self) -> String {
        match &self.why_buffered {
            None => String::from("direct I/O"),
            Some(reason) => format!("through the page cache ({reason})"),
        }
    }

    pub(super) fn note(&self, what: &str) -> Option<String> {
        let reason = self.why_buffered.as_ref().filter(|_| !self.asked_off)?;
        Some(format!("{what}: goes through the page cache: {reason}"))
    }

    pub(super) fn opened(&self, fd: OwnedFd, discard_by_ioctl: bool) -> Opened {
        Opened {
            fd,
            direct: self.why_buffered.is_none(),
            memory_align: self.memory_align,
            discard_by_ioctl,
            refuses_zero_range: AtomicBool::new(false),
            refuses_punch: AtomicBool::new(false),
            lost_writes: AtomicBool::new(false),
        }
    }
}

/// Tries direct I/O on an open file or device, with a real read.
pub(super) fn choose_direct(
    spec: &DiskSpec,
    path: &Path,
    fd: &OwnedFd,
    block_size: u32,
) -> Result<DirectChoice, OpenError> {
    let buffered = |reason: String, asked_off| DirectChoice {
        memory_align: 1,
        why_buffered: Some(reason),
        asked_off,
    };
    if spec.direct == Direct::Off {
        return Ok(buffered(String::from("direct = \"off\""), true));
    }
    match try_direct(fd, block_size) {
        Ok(memory_align) => Ok(DirectChoice { memory_align, why_buffered: None, asked_off: false }),
        Err(reason) => {
            probe::set_direct(fd.as_fd(), false)
                .map_err(|errno| system(path, "fcntl(F_SETFL)", errno))?;
            if spec.direct == Direct::On {
                return Err(OpenError::NotDirect { path: path.into(), reason });
            }
            Ok(buffered(reason, false))
        }
    }
}

/// The alignment of memory that direct I/O wants here, or why there is none.
fn try_direct(fd: &OwnedFd, block_size: u32) -> Result<usize, String> {
    let block = usize::try_from(block_size).map_err(|error| error.to_string())?;
    let told = probe::direct_align(fd.as_fd())?;
    if let Some(align) = told.filter(|align| align.offset > block) {
        let wants = align.offset;
        return Err(format!("it wants blocks of {wants} bytes and the disk has {block_size}"));
    }
    probe::set_direct(fd.as_fd(), true)
        .map_err(|errno| format!("the file system refuses O_DIRECT: {errno}"))?;
    let memory_align = told.map_or(block, |align| align.memory);
    for align in [memory_align, limits::DIRECT_ALIGN_MAX] {
        if probe::read_start(fd.as_fd(), block, align).is_ok() {
            return Ok(align);
        }
    }
    Err(format!("a direct read of one block ({block_size} bytes) fails"))
}
