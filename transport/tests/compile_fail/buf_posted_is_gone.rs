//! A buffer that was posted can't be read, written or posted again.

use transport::connection::Connection;
use transport::device::{Remote, Stack};
use transport::pool::Buf;

fn twice<S: Stack>(connection: &mut Connection<S>, buf: Buf, from: Remote) {
    let _ = connection.read(buf, from, 0);
    let _ = connection.send(buf, None, 0);
}

fn main() {}
