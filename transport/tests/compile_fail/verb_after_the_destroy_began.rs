//! A destroy takes the queue pair: no verb can follow, and no second destroy.

use transport::device::{QueuePair, Stack};

fn again<S: Stack>(mut qp: S::Qp, id: &S::Id) {
    let failed = qp.destroy(id);
    if failed.is_err() {
        let _ = qp.modify_to_error();
    }
}

fn main() {}
