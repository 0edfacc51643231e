//! What only the machine can tell: whether the things that a configuration names are there.
//!
//! Looks at metadata, and opens what it looked at to see whether that is allowed; changes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Located};
use crate::schema::{Backend, Config, Namespace};
use crate::size::SizeBytes;

/// Looks at every path of the configuration and says what is wrong, at the line that named it.
///
/// A disk may come and go between this and its opening: this is for good messages, not for safety.
pub fn preflight(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(directory(&config.state_dir));
    found.extend(socket(&config.control_socket));
    let mut inodes: BTreeMap<(u64, u64), (bool, String)> = BTreeMap::new();
    for subsystem in &config.subsystems {
        for namespace in &subsystem.namespaces {
            let (path, metadata) = match &namespace.backend {
                Backend::File { path, create } => {
                    (path, backing_file(path, *create, namespace, &mut found))
                }
                Backend::Device { path } => (path, device(path, &mut found)),
                Backend::Ram { .. } | Backend::Null { .. } => continue,
            };
            let Some(metadata) = metadata else { continue };
            let id = identity(&metadata);
            let first = inodes.get(&id).cloned();
            if let Some((reading, at)) = &first
                && !(*reading && namespace.read_only)
            {
                let message = format!("{} is the backing of two namespaces", shown(path));
                let help = format!("the first, perhaps by another name, is {at}");
                found.push(Diagnostic::error(path.place.clone(), message).help(help));
            }
            let (reading, at) = first.unwrap_or_else(|| (true, path.place.short()));
            inodes.insert(id, (reading && namespace.read_only, at));
        }
    }
    found
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

fn directory(path: &Located<PathBuf>) -> Option<Diagnostic> {
    let at = || path.place.clone();
    match fs::metadata(&path.value) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some(Diagnostic::error(at(), format!("{} is no directory", shown(path)))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let help = format!("make it: mkdir -p {}", path.display());
            let message = format!("the state directory {} does not exist", shown(path));
            Some(Diagnostic::warning(at(), message).help(help))
        }
        Err(error) => Some(unreachable(path, &error)),
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
            if fs::metadata(parent).is_ok_and(|metadata| metadata.is_dir()) {
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
    namespace: &Namespace,
    found: &mut Vec<Diagnostic>,
) -> Option<Metadata> {
    let at = || path.place.clone();
    let metadata = match fs::metadata(&path.value) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            found.extend(absent(path, create, namespace.read_only));
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
    let opened = File::options().read(true).write(!namespace.read_only).open(&path.value);
    if let Err(error) = opened {
        found.push(unreachable(path, &error));
    }
    found.extend(file_size(path, create, namespace, metadata.len()));
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
    namespace: &Namespace,
    len: u64,
) -> Option<Diagnostic> {
    let at = path.place.clone();
    let block = u64::from(namespace.block_size.map_or(512, crate::schema::BlockSize::bytes));
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
