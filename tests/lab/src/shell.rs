//! A shell in a guest, for a person at a terminal.

use anyhow::{Result, ensure};

use crate::cache;
use crate::disk::{Disk, DiskSpec};
use crate::guest::{Machine, Wire};
use crate::image::Image;
use crate::needs;
use crate::scenario::{Device, Role};
use crate::setup::{Accel, Series, Setup};
use crate::share::{Share, copy_files};

/// Boots one guest with its console on this terminal; returns when it is powered off.
///
/// # Errors
/// When it can't be booted.
pub fn open(device: Device, series: Series, disks: &str, needs: Vec<String>) -> Result<()> {
    let setup = Setup {
        series,
        device,
        roles: vec![Role::Target],
        disks: DiskSpec::parse_list(disks)?,
        cpus: 2,
        needs,
        accel: Accel::from_env()?,
    };
    let image = Image::build(series)?;
    let run = cache::new_run(&format!("{series}-{device}-shell"))?;
    let share = Share::create(run.join("share"))?;
    copy_files(&cache::lab_sources().join("scenarios"), &share.path().join("scenarios"))?;
    let programs =
        setup.needs.iter().map(|name| needs::program(name)).collect::<Result<Vec<_>>>()?;
    needs::install(&programs, &share.path().join("bin"), &share.path().join("lib"))?;
    let mut arguments = Vec::new();
    let mut held = Vec::new();
    for (index, spec) in setup.disks.iter().enumerate() {
        let disk = Disk::create(&run, index, *spec)?;
        arguments.extend(disk.arguments(index));
        held.push(disk);
    }
    let machine = Machine {
        role: Role::Target,
        wire: Wire::Alone,
        disks: arguments,
        share: share.path().to_owned(),
        console: None,
    };
    eprintln!("lab: /share in the guest is {}", share.path().display());
    let status = machine.command(&setup, &image, 1)?.status()?;
    ensure!(status.success(), "QEMU's {status}");
    Ok(())
}
