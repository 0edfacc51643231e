//! The layer above the file: `SLUICE__LOG__LEVEL=debug` sets `log.level`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use config::Source as _;

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::source::{Origin, shown};
use crate::tree::{Entry, Node, Value, quote};

/// Start of every variable of ours, and what stands between the parts of a key.
const PREFIX: &str = "SLUICE";
const SEPARATOR: &str = "__";

/// Puts the variables over the file's tree. Other programs' variables are passed over.
pub(crate) fn overlay(
    root: &mut Vec<Entry>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    found: &mut Diagnostics,
) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value)))
        .filter(|(name, _)| is_ours(name))
        .collect();
    ours.sort();
    for (name, value) in ours {
        let Some((key, text)) = read(&name, value, found) else {
            continue;
        };
        if let Some(first) = seen.insert(key.clone(), name.clone()) {
            let message = format!("sets the same key as the variable {}", shown(&first));
            found.push(Diagnostic::error(place(&name, &key), message).help("unset one of them"));
            continue;
        }
        let parts: Vec<&str> = key.split('.').collect();
        set(root, &parts, &name, &key, text, found);
    }
}

fn is_ours(name: &str) -> bool {
    let start = format!("{PREFIX}{SEPARATOR}");
    name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(&start))
}

fn place(name: &str, key: &str) -> Place {
    let path = shown(&format!("environment {name}"));
    Place { path, key: shown(key), ..Place::default() }
}

/// The key that a variable sets, dotted, and the text it gives.
fn read(name: &str, value: OsString, found: &mut Diagnostics) -> Option<(String, String)> {
    let Ok(value) = value.into_string() else {
        found.push(Diagnostic::error(place(name, ""), "the variable's value is not UTF-8"));
        return None;
    };
    // One variable at a time: the library does not tell which variable gave which key.
    let variable = std::iter::once((name.to_owned(), value)).collect();
    let layer = config::Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(variable));
    let collected = match layer.collect() {
        Ok(collected) => collected,
        Err(error) => {
            found.push(Diagnostic::error(place(name, ""), error.to_string()));
            return None;
        }
    };
    let (key, value) = collected.into_iter().next()?;
    match value.into_string() {
        Ok(text) => Some((key, text)),
        Err(error) => {
            found.push(Diagnostic::error(place(name, &key), error.to_string()));
            None
        }
    }
}

/// Sets the key `parts` below `entries`, over what the file may say.
fn set(
    entries: &mut Vec<Entry>,
    parts: &[&str],
    name: &str,
    key: &str,
    text: String,
    found: &mut Diagnostics,
) {
    let Some((part, rest)) = parts.split_first() else {
        return;
    };
    let origin = Origin::Environment(name.to_owned());
    let index = entries.iter().position(|entry| entry.key == *part);
    if rest.is_empty() {
        let node = Node { origin: origin.clone(), value: Value::Text(text) };
        let entry = Entry { key: (*part).to_owned(), key_origin: origin, node };
        match index.and_then(|index| entries.get_mut(index)) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
        return;
    }
    let below = match index.and_then(|index| entries.get_mut(index)) {
        Some(entry) => &mut entry.node.value,
        None => {
            let node = Node { origin: origin.clone(), value: Value::Table(Vec::new()) };
            entries.push(Entry { key: (*part).to_owned(), key_origin: origin, node });
            let Some(entry) = entries.last_mut() else {
                return;
            };
            &mut entry.node.value
        }
    };
    if let Value::Table(entries) = below {
        set(entries, rest, name, key, text, found);
    } else {
        let message = format!("{} is no section that a variable can reach into", quote(part));
        let help = "listeners and subsystems are only set in the file";
        found.push(Diagnostic::error(place(name, key), message).help(help));
    }
}
