//! The admin socket: one line of JSON asks, one line of JSON answers, and the connection ends.
//!
//! `{"version":1,"request":"status"}` is answered by `{"version":1,"reply":{"status":{…}}}` or by
//! `{"version":1,"reply":{"error":{"code":"…","message":"…"}}}`. The other request is
//! `{"drains":{"id":…,"limit":…}}`, both optional. Who may ask is decided by the permissions of the
//! socket alone.

mod bind;
mod client;
pub mod limits;
mod line;
mod protocol;
mod server;

pub use bind::BindError;
pub use client::{Client, ClientError};
pub use protocol::{ErrorCode, ErrorReply, Reply, Request, Response, VERSION};
pub use server::{Running, Server};
