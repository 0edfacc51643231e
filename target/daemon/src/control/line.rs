//! One client of the server: its request on the way in, its response on the way out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::limits;
use super::protocol::{ErrorCode, ErrorReply, Request, Response};
use crate::status::Inspect;

/// A connection that asks once.
pub(super) struct Line {
    pub(super) stream: UnixStream,
    since: Instant,
    phase: Phase,
}

enum Phase {
    /// Bytes of the request so far; never more than [`limits::REQUEST_BYTES_MAX`].
    Asking(Vec<u8>),
    /// The response and how much of it is sent.
    Answering(Vec<u8>, usize),
}

/// What becomes of a connection after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for the socket.
    Wait,
    /// It is over.
    End,
}

impl Line {
    /// `stream` does not block.
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        Self { stream, since: now, phase: Phase::Asking(Vec::new()) }
    }

    /// Whether it waits to send, and not for bytes.
    pub(super) fn answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(..))
    }

    /// When it is dropped if nothing more happens.
    pub(super) fn deadline(&self, crowded: bool) -> Instant {
        let patience: Duration = match (&self.phase, crowded) {
            (Phase::Asking(_), false) => limits::REQUEST_TIMEOUT,
            (Phase::Asking(_), true) => limits::REQUEST_TIMEOUT_CROWDED,
            (Phase::Answering(..), _) => limits::RESPONSE_TIMEOUT,
        };
        self.since + patience
    }

    /// Goes on until the socket would block.
    pub(super) fn step(&mut self, inspect: &dyn Inspect) -> Next {
        if let Phase::Asking(bytes) = &mut self.phase {
            let request = match read_request(&mut self.stream, bytes) {
                Read::More => return Next::Wait,
                Read::Gone => return Next::End,
                Read::Request(request) => request,
            };
            let response = Response::to_request(request, inspect).to_line();
            self.phase = Phase::Answering(response, 0);
            self.since = Instant::now();
        }
        let Phase::Answering(response, sent) = &mut self.phase else { return Next::Wait };
        while *sent < response.len() {
            match self.stream.write(&response[*sent..]) {
                Ok(0) => return Next::End,
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
                Err(_) => return Next::End,
            }
        }
        Next::End
    }
}

enum Read {
    More,
    Gone,
    Request(Result<Request, ErrorReply>),
}

fn read_request(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> Read {
    let mut chunk = [0; 1024];
    loop {
        let room = (limits::REQUEST_BYTES_MAX - bytes.len()).min(chunk.len());
        if room == 0 {
            let message = format!("a request has at most {} bytes", limits::REQUEST_BYTES_MAX);
            return Read::Request(Err(ErrorReply::new(ErrorCode::TooLong, message)));
        }
        match stream.read(&mut chunk[..room]) {
            Ok(0) if bytes.is_empty() => return Read::Gone,
            Ok(0) => {
                let message = "the request ended before its newline";
                return Read::Request(Err(ErrorReply::new(ErrorCode::Malformed, message)));
            }
            Ok(count) => {
                let old = bytes.len();
                bytes.extend_from_slice(&chunk[..count]);
                if let Some(end) = bytes[old..].iter().position(|byte| *byte == b'\n') {
                    return Read::Request(Request::from_line(&bytes[..old + end]));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Read::More,
            Err(_) => return Read::Gone,
        }
    }
}
