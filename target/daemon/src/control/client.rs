//! The side that asks.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::limits;
use super::protocol::{ErrorReply, Reply, Request, Response, VERSION};
use crate::drains::{DrainList, DrainQuery};
use crate::status::Status;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing is at the path.
    #[error("no daemon: {} does not exist", .0.display())]
    NoSocket(PathBuf),
    /// A socket is there and nobody listens.
    #[error("no daemon: nobody listens at {}", .0.display())]
    NobodyListens(PathBuf),
    /// The user may not ask.
    #[error("no permission for {}", .0.display())]
    NoPermission(PathBuf),
    /// The daemon did not take the connection or answer in time.
    #[error("the daemon at {} did not answer within {} s", path.display(), after.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The daemon ended the connection before it had answered.
    #[error("the daemon at {} went away before it had answered", .0.display())]
    Closed(PathBuf),
    /// The socket failed otherwise.
    #[error("can't ask the daemon at {}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The answer is none that this program understands.
    #[error("the answer of {} is not understood: {reason}", path.display())]
    BadAnswer {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The daemon refused the request.
    #[error("the daemon refused the request")]
    Refused(#[from] ErrorReply),
}

impl ClientError {
    /// Whether no daemon could be reached, and not that one answered wrongly.
    pub fn unreachable(&self) -> bool {
        match self {
            Self::NoSocket(_)
            | Self::NobodyListens(_)
            | Self::NoPermission(_)
            | Self::TimedOut { .. }
            | Self::Closed(_)
            | Self::System { .. } => true,
            Self::BadAnswer { .. } | Self::Refused(_) => false,
        }
    }
}

/// A connection to a daemon, for one request.
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    timeout: Duration,
}

impl Client {
    /// Connects, in no more than `timeout`.
    ///
    /// # Errors
    /// No daemon can be reached there.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = open(path, timeout).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => ClientError::NoSocket(path.to_owned()),
            Errno::CONNREFUSED | Errno::NOTSOCK => ClientError::NobodyListens(path.to_owned()),
            Errno::ACCESS | Errno::PERM => ClientError::NoPermission(path.to_owned()),
            Errno::AGAIN => ClientError::TimedOut { path: path.to_owned(), after: timeout },
            other => ClientError::System { path: path.to_owned(), source: other.into() },
        })?;
        Ok(Self { stream, path: path.to_owned(), timeout })
    }

    /// Asks for a picture of now.
    ///
    /// # Errors
    /// No answer in time, or one that is not understood.
    pub fn status(self) -> Result<Status, ClientError> {
        let path = self.path.clone();
        match self.request(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            Reply::Error(error) => Err(error.into()),
            Reply::Drains(_) => Err(answers_another(path)),
        }
    }

    /// Asks how connections ended.
    ///
    /// # Errors
    /// No answer in time, or one that is not understood.
    pub fn drains(self, query: DrainQuery) -> Result<DrainList, ClientError> {
        let path = self.path.clone();
        match self.request(&Request::Drains(query))? {
            Reply::Drains(drains) => Ok(drains),
            Reply::Error(error) => Err(error.into()),
            Reply::Status(_) => Err(answers_another(path)),
        }
    }

    /// Asks, and waits for the answer no longer than the timeout in all.
    ///
    /// # Errors
    /// No answer in time, or one that is not understood.
    pub fn request(mut self, request: &Request) -> Result<Reply, ClientError> {
        // A refusal may come before all of a request is sent: what counts is whether it can be
        // read.
        let written = self.stream.write_all(&request.to_line());
        let line = match (self.read_line(), written) {
            (Ok(line), _) => line,
            (Err(ClientError::Closed(_)), Err(source)) => return Err(self.failed(source)),
            (Err(error), _) => return Err(error),
        };
        let bad = |reason: String| ClientError::BadAnswer { path: self.path.clone(), reason };
        let response: Response =
            serde_json::from_slice(&line).map_err(|error| bad(error.to_string()))?;
        if response.version != VERSION {
            return Err(bad(format!("it is in version {}, not {VERSION}", response.version)));
        }
        Ok(response.reply)
    }

    fn read_line(&mut self) -> Result<Vec<u8>, ClientError> {
        let until = Instant::now() + self.timeout;
        let mut line = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timed_out());
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| self.failed(error))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed(self.path.clone())),
                Ok(count) => {
                    let new = &chunk[..count];
                    if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                        line.extend_from_slice(&new[..end]);
                        return Ok(line);
                    }
                    line.extend_from_slice(new);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
            if line.len() > limits::RESPONSE_BYTES_MAX {
                let reason = format!("it is longer than {} bytes", limits::RESPONSE_BYTES_MAX);
                return Err(ClientError::BadAnswer { path: self.path.clone(), reason });
            }
        }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { path: self.path.clone(), after: self.timeout }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        match Errno::from_io_error(&source) {
            Some(Errno::AGAIN) => self.timed_out(),
            Some(Errno::CONNRESET | Errno::PIPE) => ClientError::Closed(self.path.clone()),
            Some(_) | None => ClientError::System { path: self.path.clone(), source },
        }
    }
}

fn answers_another(path: PathBuf) -> ClientError {
    ClientError::BadAnswer { path, reason: "it is to another request".to_owned() }
}

/// The send timeout bounds connect(2) too, which otherwise waits for ever on a full backlog.
fn open(path: &Path, timeout: Duration) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    rustix::net::connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}
