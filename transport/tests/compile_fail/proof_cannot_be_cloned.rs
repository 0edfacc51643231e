//! One destroy, one proof.

use transport::proof::QpDestroyed;

fn cloned<T: Clone>(_: &T) {}

fn share(proof: &QpDestroyed) {
    cloned(proof);
}

fn main() {}
