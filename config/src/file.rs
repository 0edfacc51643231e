//! Reading the file itself: bounded, and with a reason when it can't be read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::limits;
use crate::source::{Origin, Source};

/// The text of the file.
///
/// # Errors
/// The file is missing, unreadable, a directory, too large or not UTF-8.
pub(crate) fn read(path: &Path, name: &str) -> Result<String, Diagnostics> {
    let place = Place { path: name.to_owned(), ..Place::default() };
    let failed = |error: std::io::Error| {
        let diagnostic = Diagnostic::error(place.clone(), format!("can't be read: {error}"));
        let advice = [
            (ErrorKind::NotFound, "check the path"),
            (ErrorKind::PermissionDenied, "the daemon's user needs read permission on it"),
            (ErrorKind::IsADirectory, "give the path of the file in it"),
        ];
        match advice.iter().find(|(kind, _)| *kind == error.kind()) {
            Some((_, help)) => Diagnostics::from(diagnostic.help(*help)),
            None => diagnostic.into(),
        }
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large, whatever its metadata claim.
    let mut bounded = Read::by_ref(&mut file).take(limits::FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).map_or(true, |len| len > limits::FILE_BYTES_MAX) {
        let message = format!("is larger than {} bytes", limits::FILE_BYTES_MAX);
        let help = "no configuration is that large: is it the right file?";
        return Err(Diagnostic::error(place, message).help(help).into());
    }
    decode(bytes, name)
}

fn decode(bytes: Vec<u8>, name: &str) -> Result<String, Diagnostics> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let byte = bytes.get(valid).copied().unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        // Up to the first bad byte the lossy text has the same bytes as the file.
        let source = Source::new(name, &text);
        let place = if source.overlong_line().is_some() {
            source.whole()
        } else {
            source.place(&Origin::File(valid..valid + 1), "")
        };
        Diagnostic::error(place, format!("byte {byte:02X}h is not UTF-8 text"))
            .help("save the file as UTF-8")
            .into()
    })
}
