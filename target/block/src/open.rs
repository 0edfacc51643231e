//! Opening disks: finding out what is there and what it can do.

pub(crate) mod device;
pub(crate) mod file;
#[allow(unsafe_code, reason = "statx and ioctl by libc, each in a small function")]
pub(crate) mod probe;

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::disk::{Backing, DirectUse, Features, Geometry, Parts};
use crate::error::OpenError;
use crate::limits;
use crate::memory::Memory;
use crate::spec::DiskSpec;

/// A ram disk: memory of this process.
pub(crate) fn ram(spec: &DiskSpec, size_bytes: u64) -> Result<Parts, OpenError> {
    let what = String::from("ram disk");
    let (block_size, block_count, notes) = cut_to_blocks(spec, &what, size_bytes, 512)?;
    let no_room = |source| OpenError::NoRoom { what: what.clone(), size_bytes, source };
    let len = usize::try_from(block_count * u64::from(block_size))
        .map_err(|_too_big| no_room(io::ErrorKind::OutOfMemory.into()))?;
    let memory = Memory::map(len).map_err(no_room)?;
    let geometry = in_memory(spec, block_size, block_count);
    let description = format!("ram {}, lost when the daemon ends", shown(geometry.size_bytes()));
    Ok(Parts { geometry, backing: Backing::Ram(memory), description, notes })
}

/// A null disk: reads give zeroes, writes are dropped.
pub(crate) fn null(spec: &DiskSpec, size_bytes: u64) -> Result<Parts, OpenError> {
    let what = "null disk";
    let (block_size, block_count, notes) = cut_to_blocks(spec, what, size_bytes, 512)?;
    let geometry = in_memory(spec, block_size, block_count);
    let description = format!("null {}, keeps no data", shown(geometry.size_bytes()));
    Ok(Parts { geometry, backing: Backing::Null, description, notes })
}

/// Bytes in the largest unit that leaves a whole number of it.
fn shown(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    let (unit, name) = fits.unwrap_or((1, "B"));
    format!("{} {name}", bytes / unit)
}

fn in_memory(spec: &DiskSpec, block_size: u32, block_count: u64) -> Geometry {
    let features = Features {
        volatile_cache: false,
        discard: !spec.read_only,
        discard_zeroes: true,
        write_zeroes: !spec.read_only,
        fua: true,
        read_only: spec.read_only,
        direct: DirectUse::NotAFile,
    };
    Geometry { block_size, physical_block_size: block_size, block_count, features }
}

/// The block size in force and the whole blocks in `size_bytes`, with a note if bytes are left
/// over.
///
/// `smallest` is the device's own logical block (bytes), 512 where there is none.
fn cut_to_blocks(
    spec: &DiskSpec,
    what: &str,
    size_bytes: u64,
    smallest: u32,
) -> Result<(u32, u64, Vec<String>), OpenError> {
    let block_size = spec.block_size.unwrap_or(smallest);
    let refuse = |reason: String| OpenError::BlockSize { what: what.into(), block_size, reason };
    if block_size != limits::BLOCK_SIZE_MIN && block_size != limits::BLOCK_SIZE_MAX {
        return Err(refuse(String::from("use 512 or 4096")));
    }
    if block_size < smallest {
        return Err(refuse(format!("the device's own is {smallest}; use that or leave it out")));
    }
    let block_count = size_bytes / u64::from(block_size);
    if block_count == 0 {
        return Err(OpenError::TooSmall { what: what.into(), size_bytes, block_size });
    }
    let rest = size_bytes % u64::from(block_size);
    let mut notes = Vec::new();
    if rest != 0 {
        notes.push(format!(
            "{what}: the last {rest} of its {size_bytes} bytes are no whole block of {block_size} \
             and are not exported"
        ));
    }
    Ok((block_size, block_count, notes))
}

/// Tries again for a bounded time while `attempt` says `busy`: see [`limits::IN_USE_PATIENCE_MS`].
fn until_free<T>(busy: Errno, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..limits::IN_USE_PATIENCE_MS / limits::IN_USE_RETRY_MS {
        match attempt() {
            Err(errno) if errno == busy => {}
            result => return result,
        }
        std::thread::sleep(Duration::from_millis(limits::IN_USE_RETRY_MS));
    }
    attempt()
}

/// Says what a failed `open` of a path means.
fn explain_open(path: &Path, read_only: bool, errno: Errno) -> OpenError {
    let path = path.to_path_buf();
    if errno == Errno::NOENT {
        OpenError::NotFound { path }
    } else if errno == Errno::ACCESS || errno == Errno::PERM {
        let access = if read_only { "read" } else { "read and write" };
        OpenError::Denied { path, access }
    } else if errno == Errno::ROFS {
        OpenError::ReadOnly { path }
    } else if errno == Errno::BUSY {
        let by = "a mount, a volume, a RAID or another process";
        OpenError::InUse { path, by }
    } else {
        system(&path, "open", errno)
    }
}

fn system(path: &Path, call: &'static str, source: impl Into<io::Error>) -> OpenError {
    OpenError::System { what: path.display().to_string(), call, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DiskKind;

    #[test]
    fn a_disk_in_memory_is_described_by_its_kind_and_size() {
        for (size_bytes, told) in [
            (16 << 20, "ram 16 MiB, lost when the daemon ends"),
            (1536, "ram 1536 B, lost when the daemon ends"),
        ] {
            let spec = DiskSpec::new(DiskKind::Ram { size_bytes });
            assert_eq!(ram(&spec, size_bytes).unwrap().description, told);
        }
    }
}
