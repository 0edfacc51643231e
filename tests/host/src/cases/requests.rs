//! Connection requests: private data with each field wrong (NVMe-oF 1.1 §7.3).

use anyhow::Result;

use crate::association::Target;
use crate::command::private_data;
use crate::connection::{Connection, Opened};
use crate::table::Table;

pub(crate) fn run(target: &Target, table: &mut Table) -> Result<()> {
    let admin = target.open(0)?;
    // InfiniBand's requests carry a fixed number of bytes, so that a short one ends in zeroes.
    let short = if admin.is_iwarp() { "rejected 01h" } else { "rejected 04h" };
    admin.disconnect()?;
    let with = |qid, hrqsize: u16, hsqsize: u16| {
        let mut data = private_data(qid, 32);
        data[4..6].copy_from_slice(&hrqsize.to_le_bytes());
        data[6..8].copy_from_slice(&hsqsize.to_le_bytes());
        data
    };
    let mut recfmt = private_data(0, 32);
    recfmt[0] = 1;
    let mut recfmt_high = private_data(0, 32);
    recfmt_high[1] = 0x80;
    let mut reserved = private_data(0, 32);
    reserved[10..].fill(0xff);
    let cases: [(&str, &str, Vec<u8>); 14] = [
        ("request without private data", short, Vec::new()),
        ("request with 6 bytes of private data", short, private_data(0, 32)[..6].to_vec()),
        ("request with RECFMT 1", "rejected 02h", recfmt),
        ("request with RECFMT 8000h", "rejected 02h", recfmt_high),
        ("request with HSQSIZE 0", "rejected 04h", with(0, 32, 0)),
        ("request for an admin queue of 33 entries", "rejected 04h", with(0, 33, 32)),
        ("request with HSQSIZE FFFFh", "rejected 04h", with(0, 32, 0xffff)),
        ("request for an I/O queue of 129 entries", "rejected 04h", with(1, 129, 128)),
        ("request for an I/O queue with HSQSIZE FFFFh", "rejected 04h", with(1, 128, 0xffff)),
        ("request with HRQSIZE 0", "rejected 05h", with(0, 0, 31)),
        ("request for an I/O queue with HRQSIZE 0", "rejected 05h", with(1, 0, 127)),
        ("request of all ones", "rejected 02h", vec![0xff; 32]),
        ("request with HRQSIZE FFFFh", "accepted", with(0, 0xffff, 31)),
        ("request with its reserved bytes set", "accepted", reserved),
    ];
    for (name, expected, data) in cases {
        table.case(name, expected, request(target, &data));
    }
    Ok(())
}

fn request(target: &Target, data: &[u8]) -> Result<String> {
    match Connection::open(target.address, data)? {
        Opened::Rejected(code) => Ok(format!("rejected {code:02x}h")),
        Opened::Yes(connection) => {
            connection.disconnect()?;
            Ok("accepted".to_owned())
        }
    }
}
