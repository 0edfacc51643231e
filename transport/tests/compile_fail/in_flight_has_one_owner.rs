//! A copy of the table would give the same memory back twice.

use transport::in_flight::InFlight;

fn cloned<T: Clone>(_: &T) {}

fn share(table: &InFlight) {
    cloned(table);
}

fn main() {}
