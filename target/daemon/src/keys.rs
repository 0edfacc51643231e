//! Keys of hosts, from where the configuration says that they are.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nvme::auth::{Key, KeyError};
use sluice_config::schema::{Config, Host, KeySource};
use sluice_config::{Diagnostic, Place};
use zeroize::Zeroizing;

use crate::limits::KEY_FILE_BYTES_MAX;

/// Where systemd puts credentials; systemd.exec(5).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// The keys of one host.
pub struct HostKeys {
    /// What the host shows that it knows.
    pub host: Key,
    /// What we show that we know.
    pub controller: Option<Key>,
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("{path:?} can't be read: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// No regular file.
    #[error("{0:?} is no regular file")]
    Kind(PathBuf),
    /// Others may read it.
    #[error("{path:?} has mode {mode:04o}: others than its owner get at the key")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Too long for a key.
    #[error("{0:?} is too long for a key")]
    TooLong(PathBuf),
    /// What is in it is no key.
    #[error("{path:?} {error}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: KeyError,
    },
    /// There are no credentials.
    #[error("credential {0:?}: $CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    /// One key for both directions.
    #[error("the controller's key is the host's: who knows the one must not know the other")]
    Same,
}

impl KeyFileError {
    fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "make it with `sluice keys gen --out FILE`, owned by the daemon's user"
            }
            Self::Kind(_) => "",
            Self::Mode { .. } => "chmod 0600, and make a new key if others may have read this one",
            Self::TooLong(_) | Self::Key { .. } => {
                "a key is one line, as `sluice keys gen` and `nvme gen-dhchap-key` write it"
            }
            Self::NoCredentials(_) => {
                "only a service with LoadCredential= has it; elsewhere use a key file"
            }
            Self::Same => "make another with `sluice keys gen`",
        }
    }
}

/// Reads a key file that nobody but its owner may read.
///
/// # Errors
/// Why there is no key in it that can be used.
pub fn read_file(path: &Path) -> Result<Key, KeyFileError> {
    read(path, OTHERS)
}

fn read(path: &Path, forbidden: u32) -> Result<Key, KeyFileError> {
    let failed = |error| KeyFileError::Io { path: path.to_owned(), error };
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileError::Kind(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(KeyFileError::Mode { path: path.to_owned(), mode });
    }
    parse(path, file)
}

fn parse(path: &Path, file: File) -> Result<Key, KeyFileError> {
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
    let most = u64::try_from(KEY_FILE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let read = file.take(most).read_to_end(&mut text);
    read.map_err(|error| KeyFileError::Io { path: path.to_owned(), error })?;
    if text.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong(path.to_owned()));
    }
    let wrong = |error| KeyFileError::Key { path: path.to_owned(), error };
    let text = std::str::from_utf8(&text).map_err(|_| wrong(KeyError::Form))?;
    Key::parse(text).map_err(wrong)
}

fn load(source: &KeySource) -> Result<Key, KeyFileError> {
    match source {
        KeySource::File(path) => read_file(path),
        KeySource::Credential(name) => {
            let directory = std::env::var_os(CREDENTIALS_DIRECTORY)
                .ok_or_else(|| KeyFileError::NoCredentials(name.value.clone()))?;
            // The service manager guards the directory; modes show the mask of its access list.
            read(&Path::new(&directory).join(&name.value), 0)
        }
    }
}

fn place(source: &KeySource) -> &Place {
    match source {
        KeySource::File(path) => &path.place,
        KeySource::Credential(name) => &name.place,
    }
}

/// The keys of a host.
///
/// # Errors
/// The line that names the key, and why it can't be used.
pub fn of_host(host: &Host) -> Result<HostKeys, Box<(Place, KeyFileError)>> {
    let at = |source: &KeySource, error| Box::new((place(source).clone(), error));
    let load = |source: &KeySource| load(source).map_err(|error| at(source, error));
    let key = load(&host.key)?;
    let controller = host.controller_key.as_ref().map(load).transpose()?;
    match (&controller, &host.controller_key) {
        (Some(controller), Some(source)) if controller.is_same(&key) => {
            Err(at(source, KeyFileError::Same))
        }
        _ => Ok(HostKeys { host: key, controller }),
    }
}

/// Looks at every key that the configuration names.
#[must_use]
pub fn preflight(config: &Config) -> Vec<Diagnostic> {
    let wrong = config.hosts.iter().filter_map(|host| of_host(host).err());
    let diagnostic = |wrong: Box<(Place, KeyFileError)>| {
        let (place, error) = *wrong;
        let diagnostic = Diagnostic::error(place, error.to_string());
        match error.help() {
            "" => diagnostic,
            help => diagnostic.help(help),
        }
    };
    wrong.map(diagnostic).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:\n";

    fn file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join(format!("{mode:o}-{}", text.len()));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |text: &str, mode| read_file(&file(directory.path(), text, mode));
        assert!(at(KEY, 0o600).is_ok() && at(KEY, 0o400).is_ok());
        for mode in [0o640, 0o604, 0o660, 0o610] {
            assert!(matches!(at(KEY, mode), Err(KeyFileError::Mode { .. })), "{mode:o}");
        }
        let long = KEY.repeat(100);
        assert!(matches!(at(&long, 0o600), Err(KeyFileError::TooLong(_))));
        assert!(matches!(at("\u{e9}", 0o600), Err(KeyFileError::Key { .. })));
        assert!(matches!(read_file(directory.path()), Err(KeyFileError::Kind(_))));
        let absent = directory.path().join("absent");
        assert!(matches!(read_file(&absent), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn what_is_wrong_with_a_key_file_never_quotes_it() {
        let directory = tempfile::tempdir().unwrap();
        let text = KEY.replace("AQID", "AQIE");
        let error = read_file(&file(directory.path(), &text, 0o600)).err().unwrap();
        let shown = format!("{error} {error:?} {}", error.help());
        assert!(shown.contains("check sum") && !shown.contains("BAUGBwgJ"), "{shown}");
    }
}
