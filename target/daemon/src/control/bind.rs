//! Taking the socket's path, and only when no other daemon lives there.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::limits;

/// Why the socket's path could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error("another sluice ({who}) serves at {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// `pid N`, or that it is unknown.
        who: String,
    },
    /// What is there is no socket, so it is not ours to remove.
    #[error("{} is there and is no socket: remove it, or set control_socket", .0.display())]
    NotASocket(PathBuf),
    /// Another daemon is between its look and its bind.
    #[error("another sluice is starting at {}", .0.display())]
    Starting(PathBuf),
    /// The path names no file in a directory, or is too long.
    #[error("{} can't be the path of a socket", .0.display())]
    BadPath(PathBuf),
    /// A system call failed.
    #[error("can't {step} {}", path.display())]
    System {
        /// What was tried.
        step: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The inode that we bound: what is at the path later may be another daemon's.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    identity: (u64, u64),
}

impl Claim {
    /// Removes the socket when it is still ours.
    pub(super) fn release(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // Nobody is helped by an error here: the next daemon takes a dead socket for what it
            // is.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Binds and listens. The lock on the directory makes the look, the removal and the bind one step
/// against another daemon that starts at the same time.
pub(super) fn bind(path: &Path, mode: u32) -> Result<(UnixListener, Claim), BindError> {
    let failed = |step| {
        let path = path.to_owned();
        move |source: io::Error| BindError::System { step, path, source }
    };
    let address = SocketAddrUnix::new(path).map_err(|_| BindError::BadPath(path.to_owned()))?;
    let _lock = lock_directory(path)?;
    clear(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|errno| failed("make a socket for")(errno.into()))?;
    // Linux gives the file the mode of the socket, less the umask: so it never has a wider one.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))
        .map_err(|errno| failed("set the permissions of")(errno.into()))?;
    rustix::net::bind(&socket, &address).map_err(|errno| failed("bind")(errno.into()))?;
    let listening = listen(&socket, path, mode);
    if listening.is_err() {
        let _ = fs::remove_file(path);
    }
    let identity = listening.map_err(failed("listen on"))?;
    let claim = Claim { path: path.to_owned(), identity };
    Ok((UnixListener::from(socket), claim))
}

fn listen(socket: &OwnedFd, path: &Path, mode: u32) -> io::Result<(u64, u64)> {
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(socket, limits::BACKLOG)?;
    Ok(identity(&fs::symlink_metadata(path)?))
}

/// Locks the directory of the socket, and makes it where it is absent.
fn lock_directory(path: &Path) -> Result<File, BindError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.ok_or_else(|| BindError::BadPath(path.to_owned()))?;
    let failed =
        |step| move |source| BindError::System { step, path: directory.to_owned(), source };
    match DirBuilder::new().mode(limits::DIRECTORY_MODE).create(directory) {
        Ok(()) => {}
        Err(_) if directory.is_dir() => {}
        Err(error) => return Err(failed("make the directory")(error)),
    }
    let lock = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(directory)
        .map_err(failed("open the directory"))?;
    for _ in 0..limits::LOCK_TRIES {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(limits::LOCK_PAUSE),
            Err(errno) => return Err(failed("lock the directory")(errno.into())),
        }
    }
    Err(BindError::Starting(path.to_owned()))
}

/// Removes a socket at which nobody listens any more.
fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |step, source| BindError::System { step, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match probe(path) {
        Ok(who) => Err(BindError::InUse { path: path.to_owned(), who }),
        Err(Errno::CONNREFUSED) => {
            fs::remove_file(path).map_err(|error| failed("remove the dead socket", error))
        }
        // A full backlog: somebody listens, and is busy.
        Err(Errno::AGAIN) => {
            Err(BindError::InUse { path: path.to_owned(), who: "pid unknown".to_owned() })
        }
        Err(errno) => Err(failed("connect to the old socket", errno.into())),
    }
}

/// Who listens at the path: the process that called listen(2), by `SO_PEERCRED` of unix(7).
fn probe(path: &Path) -> Result<String, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    Ok(match rustix::net::sockopt::socket_peercred(&stream) {
        Ok(peer) => format!("pid {}", peer.pid.as_raw_nonzero()),
        Err(_) => "pid unknown".to_owned(),
    })
}
