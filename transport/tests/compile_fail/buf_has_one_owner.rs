//! A second handle to the same bytes would outlive the post of the first.

use transport::pool::Buf;

fn cloned<T: Clone>(_: &T) {}

fn share(buf: &Buf) {
    cloned(buf);
}

fn main() {}
