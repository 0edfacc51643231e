//! A proof is spent by the table that it opens.

use transport::in_flight::InFlight;
use transport::proof::QpDestroyed;

fn twice(table: &mut InFlight, proof: QpDestroyed) {
    let mut out = Vec::new();
    let _ = table.reclaim(proof, &mut out);
    let _ = table.reclaim(proof, &mut out);
}

fn main() {}
