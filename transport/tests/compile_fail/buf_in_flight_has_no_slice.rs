//! What is posted shows its bytes to nobody.

use transport::in_flight::InFlight;
use transport::wr::WrId;

fn peek(table: &InFlight, id: WrId) -> &[u8] {
    match table.memory(id) {
        transport::wr::Memory::Buf(buf) => buf.as_slice(),
        transport::wr::Memory::Recv(recv) => recv.capsule.as_slice(),
    }
}

fn main() {}
