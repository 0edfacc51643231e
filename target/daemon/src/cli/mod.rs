//! The command line: data goes to stdout, everything else to stderr.

mod check;
mod daemon;
mod drains;
mod keys;
mod output;
mod serve;
mod status;
mod svg;
mod table;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Configuration of a daemon that is given none.
const CONFIG_DEFAULT: &str = "/etc/sluice/sluice.toml";

/// Admin socket where no configuration can be read.
const SOCKET_DEFAULT: &str = "/run/sluice/control.sock";

/// How the program ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Ok,
    /// Not as asked.
    Failed,
    /// The configuration can't be used.
    ConfigInvalid,
    /// No daemon answers.
    DaemonNotReachable,
}

impl Exit {
    /// The process's exit code; 2, for wrong usage, is clap's.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::ConfigInvalid => 3,
            Self::DaemonNotReachable => 4,
        }
    }
}

/// Exports disks over NVMe-oF.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
#[command(after_help = "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 invalid configuration, \
                        4 daemon not reachable.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground, until SIGTERM or SIGINT
    #[command(after_help = "Exit codes: 0 ended as asked; 1 what the configuration names is not \
        there, another daemon has the socket, an RDMA device can only be let go of by ending, or \
        the end took too long; 2 wrong usage; 3 invalid configuration. After 1 it is worth \
        starting again.")]
    Serve(ServeArgs),
    /// Say everything that is wrong with a configuration
    #[command(
        after_help = "Exit codes: 0 valid, perhaps with warnings; 2 wrong usage; 3 invalid, \
        or this machine has not what it names."
    )]
    Check(CheckArgs),
    /// Show what a running daemon does
    Status(StatusArgs),
    /// Show how a running daemon's connections ended, the newest first
    Drains(DrainsArgs),
    /// Make and check the keys that hosts authenticate themselves with
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration [default: /etc/sluice/sluice.toml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same, as the other commands take it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the answer; json goes to stdout, with the diagnostics
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t = CheckFormat::Text)]
    format: CheckFormat,
}

/// Which daemon is asked.
#[derive(Debug, Args)]
struct DaemonArgs {
    /// Admin socket of the daemon
    #[arg(short, long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Configuration that names the socket [default: /etc/sluice/sluice.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Form of the answer
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show every queue too; json always has them
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct DrainsArgs {
    /// Show this one in full
    #[arg(value_name = "ID", conflicts_with = "limit")]
    id: Option<u64>,
    /// Show no more than so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Form of the answer; json always has everything
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Draw the timeline of ID as SVG, to attach to a report
    #[arg(long, requires = "id", conflicts_with = "format")]
    svg: bool,
    /// Write the drawing here, and not to stdout
    #[arg(long, value_name = "FILE", requires = "svg")]
    output: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key, in the form of `nvme gen-dhchap-key`
    Gen(KeysGenArgs),
    /// Say whether a file holds a key that can be used
    Check(KeysCheckArgs),
}

#[derive(Debug, Args)]
struct KeysGenArgs {
    /// What the key is transformed by before its use; its length follows
    #[arg(long, value_enum, default_value_t = KeyHash::Sha256)]
    hash: KeyHash,
    /// Write it here, readable by the owner only; the file must not exist [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct KeysCheckArgs {
    /// File with one key
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyHash {
    /// Not transformed, 32 bytes
    None,
    /// SHA-256, 32 bytes
    Sha256,
    /// SHA-384, 48 bytes
    Sha384,
    /// SHA-512, 64 bytes
    Sha512,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// For people
    Text,
    /// One object
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object
    Json,
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Serve(args) => serve::serve(&args.config),
        Command::Check(args) => {
            let file = args.file.or(args.config).unwrap_or_else(|| CONFIG_DEFAULT.into());
            check::check(&file, args.format)
        }
        Command::Status(args) => status::status(&args),
        Command::Drains(args) => drains::drains(&args),
        Command::Keys(KeysCommand::Gen(args)) => keys::generate(&args),
        Command::Keys(KeysCommand::Check(args)) => keys::check(&args),
        Command::Version => output::print(concat!("sluice ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    ExitCode::from(exit.code())
}
