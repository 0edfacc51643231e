//! Only a destroy of the shared queue that succeeded makes one.

use transport::proof::{QpDestroyed, SrqDestroyed};

fn forge(proof: QpDestroyed) -> SrqDestroyed {
    SrqDestroyed { epoch: proof.epoch() }
}

fn main() {}
