//! A host that sends what no kernel's host sends, and judges the answers: connection requests,
//! Connect commands, capsules, data pointers and disconnects, one line a case.
//!
//! Usage: `hostile-host ADDRESS:PORT NQN PRIVATE-NQN [ROUNDS]`. The first subsystem lets every host
//! in and has namespace 1 with 131072 blocks of 512 bytes; the second one lets in none of our name.
//! The target's handshake timeout should be short. Exit status 0 when every case went as expected.
//! With ROUNDS there are no cases: so many times it is cut off with data on its way, and goes on.

mod association;
mod cases;
mod command;
mod connection;
mod cut_off;
mod limits;
mod memory;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::association::Target;
use crate::command::HostName;
use crate::table::Table;

fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let mut arg = |name| args.next().with_context(|| format!("argument {name} is missing"));
    let target = Target {
        address: arg("ADDRESS:PORT")?.parse().context("ADDRESS:PORT")?,
        nqn: arg("NQN")?,
        private_nqn: arg("PRIVATE-NQN")?,
        host: HostName { nqn: b"nqn.2026-01.lab:hostile".to_vec(), id: [0x66; 16] },
    };
    if let Some(rounds) = args.next() {
        let after = cut_off::run(&target, rounds.parse().context("ROUNDS")?)?;
        table::say(&format!("{rounds} times cut off, {after} capsules sent after that"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::default();
    cases::run(&target, &mut table)?;
    Ok(if table.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
