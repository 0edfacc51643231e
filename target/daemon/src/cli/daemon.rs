//! Asking a running daemon, and saying why there is no answer.

use std::path::{Path, PathBuf};

use super::output::{complain, say};
use super::{CONFIG_DEFAULT, DaemonArgs, Exit, SOCKET_DEFAULT};
use crate::control::limits::CLIENT_TIMEOUT;
use crate::control::{Client, ClientError};

/// The daemon's answer. Where there is none it is said why, and how the program ends.
pub(super) fn ask<T>(
    args: &DaemonArgs,
    question: impl FnOnce(Client) -> Result<T, ClientError>,
) -> Result<T, Exit> {
    let answer = Client::connect(&socket(args)?, CLIENT_TIMEOUT).and_then(question);
    answer.map_err(|error| {
        let exit = if error.unreachable() { Exit::DaemonNotReachable } else { Exit::Failed };
        let advice = advice(&error);
        complain(format_args!("{:#}{advice}", anyhow::Error::new(error)));
        exit
    })
}

/// The socket that was named, or the one of the configuration.
fn socket(args: &DaemonArgs) -> Result<PathBuf, Exit> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let file = args.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT));
    match (sluice_config::load(file), &args.config) {
        (Ok(loaded), _) => Ok(loaded.config.control_socket.value),
        // Who may ask the daemon may not always read its configuration.
        (Err(_), None) => Ok(PathBuf::from(SOCKET_DEFAULT)),
        (Err(diagnostics), Some(_)) => {
            say(diagnostics);
            complain(format_args!("{} is invalid; name the socket with --socket", file.display()));
            Err(Exit::ConfigInvalid)
        }
    }
}

fn advice(error: &ClientError) -> &'static str {
    match error {
        ClientError::NoSocket(_) | ClientError::NobodyListens(_) => {
            "\n  Start it (systemctl start sluice), or name its socket with --socket or --config."
        }
        ClientError::NoPermission(_) => "\n  Ask as root, or as a member of the socket's group.",
        ClientError::TimedOut { .. } | ClientError::Closed(_) => {
            "\n  It may be starting, ending or overloaded: see journalctl -u sluice."
        }
        ClientError::BadAnswer { .. } | ClientError::Refused(_) => {
            "\n  The daemon may be of another version than this program: restart it."
        }
        ClientError::System { .. } => "",
    }
}
