//! Writing to stdout and stderr, either of which may be closed, full or a terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use super::Exit;

/// Writes data to stdout. That nobody reads on, as in `sluice status | head`, is no failure.
pub(super) fn print(data: &str) -> Exit {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            complain(format_args!("can't write to stdout: {error}"));
            Exit::Failed
        }
    }
}

/// One object of JSON, for people to read too.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("plain structs, and maps by name, are always representable");
    text.push('\n');
    text
}

/// Says on stderr why something did not go as asked.
pub(super) fn complain(message: impl Display) {
    say(format_args!("sluice: {message}"));
}

/// Says something on stderr; where that can't be written to there is nobody to tell.
pub(super) fn say(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}
