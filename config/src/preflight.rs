//! What only the machine can tell: whether the things that a configuration names are there.
//!
//! Looks at metadata, and opens what it looked at to see whether that is allowed; changes nothing.
//! The state directory is not looked at: nothing is kept there yet.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Located};
use crate::schema::{Backend, BlockSize, Config};
use crate::size::SizeBytes;

/// Looks at every path of the configuration and says what is wrong, at the line that named it.
///
/// A disk may come and go between this and its opening: this is for good messages, not for safety.
pub fn preflight(config: &Config) -> Vec<Diagnostic> {
    look(&config.control_socket, &disks(config))
}

/// A warning when the ram disks together are larger than this machine's memory: they take it as
/// hosts write, and then the kernel ends the daemon.
pub fn memory(config: &Config) -> Option<Diagnostic> {
    beyond_memory(&disks(config), memory_bytes()?)
}

/// What matters here of one namespace.
pub(crate) struct Disk {
    pub(crate) backend: Backend,
    pub(crate) block_size: Option<BlockSize>,
    pub(crate) read_only: bool,
}

fn disks(config: &Config) -> Vec<Disk> {
    let namespaces = config.subsystems.iter().flat_map(|subsystem| &subsystem.namespaces);
    let disk = |namespace: &crate::schema::Namespace| Disk {
        backend: namespace.backend.clone(),
        block_size: namespace.block_size,
        read_only: namespace.read_only,
    };
    namespaces.map(disk).collect()
}

/// A backing that was met: whether all its uses only read, and the first of them.
struct Met<'a> {
    reading: bool,
    first: &'a Located<PathBuf>,
}

/// What [`preflight`] finds.
pub(crate) fn look(control_socket: &Located<PathBuf>, disks: &[Disk]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(socket(control_socket));
    let mut inodes: BTreeMap<(u64, u64), Met<'_>> = BTreeMap::new();
    for disk in disks {
        let (path, metadata) = match &disk.backend {
            Backend::File { path, create } => (path, backing_file(path, *create, disk, &mut found)),
            Backend::Device { path } => (path, device(path, &mut found)),
            Backend::Ram { .. } | Backend::Null { .. } => continue,
        };
        let Some(metadata) = metadata else { continue };
        let met = inodes.entry(identity(&metadata)).or_insert(Met { reading: true, first: path });
        // The same path twice is an error of the text, and told there.
        if met.first.value != path.value && !(met.reading && disk.read_only) {
            let message = format!("{} is the backing of two namespaces", shown(path));
            let help = format!("the first, by another name, is {}", met.first.place.short());
            found.push(Diagnostic::error(path.place.clone(), message).help(help));
        }
        met.reading &= disk.read_only;
    }
    found.extend(memory_bytes().and_then(|bytes| beyond_memory(disks, bytes)));
    found
}

/// At the ram disk that does not fit any more.
fn beyond_memory(disks: &[Disk], memory_bytes: u64) -> Option<Diagnostic> {
    let mut sum: u64 = 0;
    for disk in disks {
        let Backend::Ram { size } = &disk.backend else { continue };
        sum = sum.saturating_add(size.bytes());
        if sum > memory_bytes {
            let has = SizeBytes(memory_bytes >> 20 << 20);
            let sum = SizeBytes(sum);
            let message = format!("the ram disks take {sum} so far, and this machine has {has}");
            let help = "make them smaller: the kernel ends the daemon when hosts have filled them";
            return Some(Diagnostic::warning(size.place.clone(), message).help(help));
        }
    }
    None
}

/// Memory of the machine. proc_meminfo(5).
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn shown(path: &Path) -> String {
    format!("{path:?}")
}

/// What makes two names the same disk: the device's number, or the inode.
fn identity(metadata: &Metadata) -> (u64, u64) {
    if metadata.file_type().is_block_device() {
        // No file system has the device number 0, so this is never the name of an inode.
        (0, metadata.rdev())
    } else {
        (metadata.dev(), metadata.ino())
    }
}

fn socket(path: &Located<PathBuf>) -> Option<Diagnostic> {
    let at = || path.place.clone();
    match fs::symlink_metadata(&path.value) {
        Ok(metadata) if metadata.file_type().is_socket() => None,
        Ok(_) => {
            let message = format!("{} is there and is no socket", shown(path));
            Some(Diagnostic::error(at(), message).help("remove it, or name another path"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent()?;
            let is_there = |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_dir());
            // systemd makes the last directory, as RuntimeDirectory=, or else the daemon does.
            if is_there(parent) || parent.parent().is_some_and(is_there) {
                return None;
            }
            let help = format!("make it: mkdir -p {}", parent.display());
            let message = format!("the directory {} does not exist", shown(parent));
            Some(Diagnostic::warning(at(), message).help(help))
        }
        Err(error) => Some(unreachable(path, &error)),
    }
}

fn unreachable(path: &Located<PathBuf>, error: &std::io::Error) -> Diagnostic {
    let message = format!("{} can't be reached: {error}", shown(path));
    let diagnostic = Diagnostic::error(path.place.clone(), message);
    if error.kind() == ErrorKind::PermissionDenied {
        diagnostic.help("the daemon's user needs permission on it and the directories above")
    } else if error.kind() == ErrorKind::NotADirectory {
        diagnostic.help("a part of the path is no directory")
    } else {
        diagnostic
    }
}

/// What kind of thing is there, where another kind is needed.
fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a regular file"
    }
}

fn backing_file(
    path: &Located<PathBuf>,
    create: Option<SizeBytes>,
    disk: &Disk,
    found: &mut Vec<Diagnostic>,
) -> Option<Metadata> {
    let at = || path.place.clone();
    let metadata = match fs::metadata(&path.value) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            found.extend(absent(path, create, disk.read_only));
            return None;
        }
        Err(error) => {
            found.push(unreachable(path, &error));
            return None;
        }
    };
    if !metadata.is_file() {
        let message = format!("{} is {}, not a regular file", shown(path), kind(&metadata));
        let diagnostic = Diagnostic::error(at(), message);
        found.push(if metadata.file_type().is_block_device() {
            diagnostic.help("write device = instead of file =")
        } else {
            diagnostic
        });
        return None;
    }
    let opened = File::options().read(true).write(!disk.read_only).open(&path.value);
    if let Err(error) = opened {
        found.push(unreachable(path, &error));
    }
    found.extend(file_size(path, create, disk, metadata.len()));
    Some(metadata)
}

fn absent(
    path: &Located<PathBuf>,
    create: Option<SizeBytes>,
    read_only: bool,
) -> Option<Diagnostic> {
    let at = path.place.clone();
    if create.is_none() || read_only {
        let message = format!("the file {} does not exist", shown(path));
        let help = if read_only {
            "check the path: a read_only file is never made"
        } else {
            "check the path, or give a size = \"10 GiB\" to have it made"
        };
        return Some(Diagnostic::error(at, message).help(help));
    }
    let parent = path.parent()?;
    match fs::metadata(parent) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) | Err(_) => {
            let message = format!("the directory {} does not exist", shown(parent));
            let help = format!("make it: mkdir -p {}", parent.display());
            Some(Diagnostic::error(at, message).help(help))
        }
    }
}

fn file_size(
    path: &Located<PathBuf>,
    create: Option<SizeBytes>,
    disk: &Disk,
    len: u64,
) -> Option<Diagnostic> {
    let at = path.place.clone();
    let block = u64::from(disk.block_size.map_or(512, BlockSize::bytes));
    let has = format!("{} has {}", shown(path), SizeBytes(len));
    if len < block {
        let message = format!("{has}, less than one block of {block} bytes");
        let help = format!("give it a size: truncate -s 10G {}", path.display());
        return Some(Diagnostic::error(at, message).help(help));
    }
    if let Some(size) = create.filter(|size| size.bytes() != len) {
        let message = format!("{has}, not the {size} of \"size\"");
        let help = "\"size\" only matters when the file is made; the file stays as it is";
        return Some(Diagnostic::warning(at, message).help(help));
    }
    let rest = len % block;
    if rest > 0 {
        let message = format!("{has}, no whole number of blocks of {block} bytes");
        let help = format!("the last {rest} bytes are not exported");
        return Some(Diagnostic::warning(at, message).help(help));
    }
    None
}

fn device(path: &Located<PathBuf>, found: &mut Vec<Diagnostic>) -> Option<Metadata> {
    let at = || path.place.clone();
    let metadata = match fs::metadata(&path.value) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("the device {} does not exist", shown(path));
            found.push(Diagnostic::error(at(), message).help("see what there is with lsblk"));
            return None;
        }
        Err(error) => {
            found.push(unreachable(path, &error));
            return None;
        }
    };
    if !metadata.file_type().is_block_device() {
        let message = format!("{} is {}, not a block device", shown(path), kind(&metadata));
        let diagnostic = Diagnostic::error(at(), message);
        found.push(if metadata.is_file() {
            diagnostic.help("write file = instead of device =")
        } else {
            diagnostic
        });
        return None;
    }
    // Only for reading: closing a device that was open for writing makes udev probe it anew.
    if let Err(error) = File::open(&path.value) {
        found.push(unreachable(path, &error));
    }
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(gib: u64) -> Disk {
        let backend = Backend::Ram { size: SizeBytes(gib << 30).into() };
        Disk { backend, block_size: None, read_only: false }
    }

    #[test]
    fn ram_disks_count_together_against_memory() {
        let null = Backend::Null { size: SizeBytes(1 << 40) };
        let null = Disk { backend: null, block_size: None, read_only: false };
        assert_eq!(beyond_memory(&[ram(2), null, ram(2)], 4 << 30), None);
        let warning = beyond_memory(&[ram(2), ram(3)], (4 << 30) + 512).unwrap();
        assert!(warning.message.contains("take 5 GiB so far"), "{warning}");
        assert!(warning.message.contains("has 4 GiB"), "{warning}");
    }

    #[test]
    fn the_memory_of_this_machine_is_found() {
        assert!(memory_bytes().unwrap() > 16 << 20);
    }
}
