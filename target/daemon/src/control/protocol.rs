//! What is asked and answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::drains::{DrainList, DrainQuery};
use crate::status::{Inspect, Status};

/// Version of the protocol; a request of another one is refused, with this number.
pub const VERSION: u32 = 1;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A picture of now.
    Status,
    /// How connections ended, newest first.
    Drains(DrainQuery),
}

/// An answer with the version it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`] of the daemon.
    pub version: u32,
    /// The answer.
    pub reply: Reply,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Drains`].
    Drains(DrainList),
    /// The request was refused.
    Error(ErrorReply),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorReply {
    /// For programs.
    pub code: ErrorCode,
    /// For people, one sentence.
    pub message: String,
}

/// Why a request was refused, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// It is not a line of JSON with a version and a request.
    Malformed,
    /// It has more than [`REQUEST_BYTES_MAX`](super::limits::REQUEST_BYTES_MAX) bytes.
    TooLong,
    /// The daemon speaks another version.
    UnsupportedVersion,
    /// The daemon has no such request.
    UnknownRequest,
    /// The daemon could not put its answer together.
    Internal,
}

/// What every version of a request has.
#[derive(Deserialize)]
struct Envelope {
    version: u32,
    request: Value,
}

#[derive(Serialize)]
struct RequestLine<'a> {
    version: u32,
    request: &'a Request,
}

impl ErrorReply {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Request {
    /// The request as a line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        to_line(&RequestLine { version: VERSION, request: self })
    }

    /// Reads a line, newline or not.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn from_line(line: &[u8]) -> Result<Self, ErrorReply> {
        let envelope: Envelope = serde_json::from_slice(line).map_err(|error| {
            ErrorReply::new(ErrorCode::Malformed, format!("the request is malformed: {error}"))
        })?;
        if envelope.version != VERSION {
            let message = format!("this daemon speaks version {VERSION}, not {}", envelope.version);
            return Err(ErrorReply::new(ErrorCode::UnsupportedVersion, message));
        }
        serde_json::from_value(envelope.request).map_err(|error| {
            let message = format!("this daemon does not know the request: {error}");
            ErrorReply::new(ErrorCode::UnknownRequest, message)
        })
    }
}

impl Response {
    /// Answers one request.
    pub fn to_request(request: Result<Request, ErrorReply>, inspect: &dyn Inspect) -> Self {
        let reply = match request {
            Ok(Request::Status) => Reply::Status(Box::new(inspect.status())),
            Ok(Request::Drains(query)) => Reply::Drains(inspect.drains(query)),
            Err(error) => Reply::Error(error),
        };
        Self { version: VERSION, reply }
    }

    /// The response as a line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }
}

/// JSON has no newline outside of strings, and escapes those inside.
fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value)
        .expect("plain structs, and maps by name, are always representable");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_from_its_line() {
        let line = Request::Status.to_line();
        assert_eq!(line, b"{\"version\":1,\"request\":\"status\"}\n");
        assert_eq!(Request::from_line(&line), Ok(Request::Status));
        let query = DrainQuery { id: None, limit: Some(7) };
        let line = Request::Drains(query).to_line();
        let text = &b"{\"version\":1,\"request\":{\"drains\":{\"id\":null,\"limit\":7}}}\n"[..];
        assert_eq!(line, text);
        assert_eq!(Request::from_line(text), Ok(Request::Drains(query)));
        let all = Request::from_line(b"{\"version\":1,\"request\":{\"drains\":{}}}");
        assert_eq!(all, Ok(Request::Drains(DrainQuery::default())));
    }

    #[test]
    fn every_kind_of_bad_request_has_its_code() {
        for (line, code) in [
            (&b""[..], ErrorCode::Malformed),
            (b"status", ErrorCode::Malformed),
            (b"{\"request\":\"status\"}", ErrorCode::Malformed),
            (b"{\"version\":-1,\"request\":\"status\"}", ErrorCode::Malformed),
            (b"{\"version\":1}", ErrorCode::Malformed),
            (b"{\"version\":1,\"request\":\"status\"} {}", ErrorCode::Malformed),
            (b"\xff\xfe\x00", ErrorCode::Malformed),
            (b"{\"version\":2,\"request\":\"status\"}", ErrorCode::UnsupportedVersion),
            (b"{\"version\":1,\"request\":\"format\"}", ErrorCode::UnknownRequest),
            (b"{\"version\":1,\"request\":{\"status\":1}}", ErrorCode::UnknownRequest),
            (b"{\"version\":1,\"request\":\"drains\"}", ErrorCode::UnknownRequest),
            (b"{\"version\":1,\"request\":{\"drains\":{\"id\":-1}}}", ErrorCode::UnknownRequest),
        ] {
            let shown = String::from_utf8_lossy(line);
            assert_eq!(Request::from_line(line).map_err(|e| e.code), Err(code), "{shown}");
        }
        let deep = format!("{{\"version\":1,\"request\":{}", "[".repeat(4000));
        let refused = Request::from_line(deep.as_bytes()).map_err(|e| e.code);
        assert_eq!(refused, Err(ErrorCode::Malformed));
    }
}
