//! No other thread walks, posts to or closes a connection.

use transport::connection::Connection;
use transport::device::Stack;

fn sent<T: Send>(_: T) {}

fn leave<S: Stack>(connection: Connection<S>) {
    sent(connection);
}

fn main() {}
