//! `lab`: runs one scenario, or opens a shell in a guest, by hand.
#![forbid(unsafe_code)]
// A program for people at a terminal: what it finds goes to stdout.
#![allow(clippy::print_stdout, reason = "the output of a command-line tool")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use lab::image::Image;
use lab::plan::{self, Case};
use lab::scenario::{self, Device, Scenario};
use lab::session::Outcome;
use lab::setup::{Accel, Series};
use lab::{cache, shell};

/// Runs scenarios with real RDMA in QEMU guests.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes what guests boot from, and says where it is.
    Build {
        /// 6.12 or 6.1
        #[arg(long, default_value_t)]
        kernel: Series,
    },
    /// Lists the scenarios.
    List,
    /// Runs one scenario.
    Run {
        /// Its name, or a path to a file.
        scenario: String,
        /// rxe or siw; every one it is for when absent
        #[arg(long)]
        device: Option<Device>,
        /// 6.12 or 6.1
        #[arg(long, default_value_t)]
        kernel: Series,
        /// Keep the scratch disks' images.
        #[arg(long)]
        keep: bool,
        /// One instruction is one nanosecond of guest time.
        #[arg(long)]
        icount: bool,
    },
    /// Opens a shell in a guest.
    Shell {
        /// rxe or siw
        #[arg(long, default_value_t = Device::Rxe)]
        device: Device,
        /// 6.12 or 6.1
        #[arg(long, default_value_t)]
        kernel: Series,
        /// Scratch disks, as in a scenario's header.
        #[arg(long, default_value = "1x256MiB")]
        disks: String,
        /// Programs of the workspace to bring in.
        #[arg(long)]
        needs: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Verb) -> Result<ExitCode> {
    match command {
        Verb::Build { kernel } => {
            let image = Image::build(kernel)?;
            println!(
                "{}\n{}\n{}",
                image.release,
                image.kernel.display(),
                image.initramfs.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Verb::List => {
            println!("{}", Scenario::HEADINGS);
            for scenario in scenario::load_all(&cache::lab_sources().join("scenarios"))? {
                println!("{}", scenario.line());
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Run { scenario, device, kernel, keep, icount } => {
            let accel = if icount { Accel::Icount } else { Accel::from_env()? };
            let mut scenario = find(&scenario)?;
            if let Some(device) = device {
                scenario.devices = vec![device];
            }
            run_scenario(&scenario, kernel, accel, keep)
        }
        Verb::Shell { device, kernel, disks, needs } => {
            shell::open(device, kernel, &disks, needs)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn find(name: &str) -> Result<Scenario> {
    if name.ends_with(".sh") {
        return Scenario::load(name.as_ref());
    }
    let all = scenario::load_all(&cache::lab_sources().join("scenarios"))?;
    all.into_iter()
        .find(|scenario| scenario.name == name)
        .with_context(|| format!("no scenario '{name}': see `lab list`"))
}

fn run_scenario(scenario: &Scenario, kernel: Series, accel: Accel, keep: bool) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let cases: Vec<Case> = plan::cases(std::slice::from_ref(scenario), &[kernel]);
    for batch in plan::batches(&cases, accel)? {
        plan::run(&batch, keep, |case, outcome| match plan::explain(case, &outcome) {
            Some(why) => {
                println!("{why}\n{} FAILED", case.name());
                code = ExitCode::FAILURE;
            }
            None => {
                if let Ok(Outcome::Passed { took }) = outcome {
                    println!("{} ok in {:.1} s", case.name(), took.as_secs_f64());
                }
            }
        });
    }
    Ok(code)
}
