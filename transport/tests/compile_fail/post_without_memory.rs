//! A work request owns the memory that it names: a claim of where it lies is not enough.

use transport::device::Sge;
use transport::in_flight::InFlight;
use transport::wr::WrKind;

fn post(table: &mut InFlight, sge: Sge) {
    let _ = table.admit(WrKind::Send, sge, 0);
}

fn main() {}
