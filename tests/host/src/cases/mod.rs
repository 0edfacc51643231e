//! The cases, by what is wrong in them. A bystander, connected all the time, has to be served after
//! each group.

mod capsules;
mod connect;
mod data;
mod ends;
mod requests;

use anyhow::Result;

use crate::association::Target;
use crate::table::Table;

/// Runs all of them.
pub(crate) fn run(target: &Target, table: &mut Table) -> Result<()> {
    type Group = fn(&Target, &mut Table) -> Result<()>;
    let groups: [(&str, Group); 6] = [
        ("requests", requests::run),
        ("connect", connect::run),
        ("capsules", capsules::run),
        ("data pointers", data::pointers),
        ("keys", data::keys),
        ("ends", ends::run),
    ];
    let mut bystander = target.live()?;
    for (name, group) in groups {
        group(target, table)?;
        table.case(&format!("bystander reads after {name}"), "success", bystander.read());
    }
    bystander.disconnect()
}
