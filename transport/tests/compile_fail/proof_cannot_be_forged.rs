//! Only a destroy that succeeded makes one.

use transport::proof::{Epoch, QpDestroyed};

fn forge() -> QpDestroyed {
    QpDestroyed { epoch: Epoch::next() }
}

fn main() {}
