//! Only code that takes on the contract with the device may post.

use transport::device::{QueuePair, SendDesc, Stack};

fn post<S: Stack>(qp: &mut S::Qp, list: &[SendDesc]) {
    let _ = qp.post_send(list);
}

fn main() {}
