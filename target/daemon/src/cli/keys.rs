//! `sluice keys`

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nvme::auth::{Hash, Key};

use super::output::{complain, print};
use super::{Exit, KeyHash, KeysCheckArgs, KeysGenArgs};
use crate::keys;

/// Makes a key.
pub(super) fn generate(args: &KeysGenArgs) -> Exit {
    let transform = match args.hash {
        KeyHash::None => None,
        KeyHash::Sha256 => Some(Hash::Sha256),
        KeyHash::Sha384 => Some(Hash::Sha384),
        KeyHash::Sha512 => Some(Hash::Sha512),
    };
    let Some(key) = Key::generate(transform, |bytes| getrandom::fill(bytes).is_ok()) else {
        complain("the kernel gives no random bytes");
        return Exit::Failed;
    };
    let Some(path) = &args.out else {
        return print(&format!("{}\n", *key.to_text()));
    };
    match write(path, &key) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(format_args!("{} can't be written: {error}", path.display()));
            Exit::Failed
        }
    }
}

/// A file that nobody but its owner could ever read.
fn write(path: &Path, key: &Key) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.to_text().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Says whether a file holds a key, and never which.
pub(super) fn check(args: &KeysCheckArgs) -> Exit {
    match keys::read_file(&args.file) {
        Ok(key) => {
            let transform = key
                .transform()
                .map_or("not transformed".to_owned(), |hash| format!("transformed by {hash}"));
            let (file, bytes) = (args.file.display(), key.len_bytes());
            print(&format!("{file} holds a key of {bytes} bytes, {transform}\n"))
        }
        Err(error) => {
            complain(format_args!("{error}"));
            Exit::Failed
        }
    }
}
