//! A destroyed queue pair frees no receive that others may still take.

use transport::proof::QpDestroyed;
use transport::shared_receives::SharedInFlight;

fn reclaim(table: &mut SharedInFlight, proof: QpDestroyed) {
    let _ = table.reclaim(proof, &mut Vec::new());
}

fn main() {}
