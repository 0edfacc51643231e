//! Opening a block device as a disk.

use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::file::choose_direct;
use super::{cut_to_blocks, explain_open, probe, system, until_free};
use crate::disk::{Backing, Features, Geometry, Parts};
use crate::error::OpenError;
use crate::limits;
use crate::spec::DiskSpec;

/// Opens a block device exclusively (`O_EXCL` on a device: `man 2 open`).
pub(crate) fn open(spec: &DiskSpec, path: &Path) -> Result<Parts, OpenError> {
    let stat = rustix::fs::stat(path).map_err(|errno| explain_open(path, true, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
        let mend = "export a regular file with `file = …`";
        let (found, wanted) = ("no block device", "a block device");
        return Err(OpenError::WrongKind { path: path.into(), found, wanted, mend });
    }
    let folder = probe::DeviceFolder::of(stat.st_rdev);
    if !spec.read_only && folder.own("ro").is_some_and(|ro| ro != "0") {
        return Err(OpenError::ReadOnly { path: path.into() });
    }
    let access = if spec.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let flags = access | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = until_free(Errno::BUSY, || rustix::fs::open(path, flags, Mode::empty()))
        .map_err(|errno| explain_open(path, spec.read_only, errno))?;
    let found = rustix::fs::fstat(&fd).map_err(|errno| system(path, "fstat", errno))?;
    if found.st_rdev != stat.st_rdev {
        let (found, mend) = ("another device by now", "let nothing replace it");
        let wanted = "the device that was looked at";
        return Err(OpenError::WrongKind { path: path.into(), found, wanted, mend });
    }
    let size_bytes =
        rustix::fs::seek(&fd, SeekFrom::End(0)).map_err(|errno| system(path, "lseek", errno))?;
    let logical = rustix::fs::ioctl_blksszget(&fd)
        .map_err(|errno| system(path, "ioctl(BLKSSZGET)", errno))?;
    let what = path.display().to_string();
    let smallest = logical.max(limits::BLOCK_SIZE_MIN);
    let (block_size, block_count, mut notes) = cut_to_blocks(spec, &what, size_bytes, smallest)?;
    let choice = choose_direct(spec, path, &fd, block_size)?;
    notes.extend(choice.note(&what));

    let offers = |name: &str| folder.queue_number(name).unwrap_or(0) > 0;
    let punches = offers("write_zeroes_max_bytes");
    let discards = offers("discard_max_bytes");
    let features = Features {
        // What is not known to be safe is not said to be.
        volatile_cache: folder.queue("write_cache").is_none_or(|mode| mode != "write through")
            || choice.use_of() == crate::disk::DirectUse::Buffered,
        discard: discards && !spec.read_only,
        discard_zeroes: punches && discards,
        write_zeroes: !spec.read_only,
        fua: true,
        read_only: spec.read_only,
        direct: choice.use_of(),
    };
    let physical = rustix::fs::ioctl_blkpbszget(&fd).unwrap_or(block_size);
    let physical_block_size = physical.max(block_size);
    let geometry = Geometry { block_size, physical_block_size, block_count, features };
    let size_bytes = geometry.size_bytes();
    let description = format!("device {what}, {size_bytes} bytes, {}", choice.describe());
    let backing = Backing::File(choice.opened(fd, !punches));
    Ok(Parts { geometry, backing, description, notes })
}
