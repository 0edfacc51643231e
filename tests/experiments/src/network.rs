//! A network that loses everything: netem on the loopback interface.
//!
//! siw's traffic between two processes of one machine passes `lo`, whatever the address; rxe's
//! passes no queue discipline at all.

use std::process::Command;

use anyhow::{Result, ensure};

/// While it lives, no packet passes `lo`.
pub(crate) struct Loss(());

impl Loss {
    /// Needs `tc` and the module `sch_netem`.
    pub(crate) fn begin() -> Result<Self> {
        let mut tc = Command::new("tc");
        tc.args(["qdisc", "add", "dev", "lo", "root", "netem", "loss", "100%"]);
        ensure!(run(&mut tc), "tc can't add netem to lo");
        Ok(Self(()))
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        // A failure shows in the next case, which can't connect.
        run(Command::new("tc").args(["qdisc", "del", "dev", "lo", "root"]));
    }
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
