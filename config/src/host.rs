//! `[[host]]`: the keys that hosts authenticate themselves with, and where they are kept.

use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::limits;
use crate::nqn::HostNqn;
use crate::schema::{AllowedHosts, ChapGroup, ChapHash, Host, KeySource, Subsystem};
use crate::sections;
use crate::unique::Unique;
use crate::walk::{Section, Walk};

const NQN_HELP: &str = "copy it from /etc/nvme/hostnqn of the host";
const KEY_HELP: &str = "add key_file = \"/etc/sluice/keys/...\", as `sluice keys gen` writes it, \
    or key_credential with the name of a systemd credential";

/// Words for the hash functions.
pub(crate) const HASHES: [(&str, ChapHash); 3] =
    [("sha256", ChapHash::Sha256), ("sha384", ChapHash::Sha384), ("sha512", ChapHash::Sha512)];

/// Words for the groups.
pub(crate) const GROUPS: [(&str, ChapGroup); 6] = [
    ("null", ChapGroup::Null),
    ("ffdhe2048", ChapGroup::Ffdhe2048),
    ("ffdhe3072", ChapGroup::Ffdhe3072),
    ("ffdhe4096", ChapGroup::Ffdhe4096),
    ("ffdhe6144", ChapGroup::Ffdhe6144),
    ("ffdhe8192", ChapGroup::Ffdhe8192),
];

/// Hash functions where the file names none: the strongest first.
const HASHES_DEFAULT: [ChapHash; 3] = [ChapHash::Sha512, ChapHash::Sha384, ChapHash::Sha256];

/// Groups where the file names none: each with Diffie-Hellman in it, the cheapest first.
const GROUPS_DEFAULT: [ChapGroup; 5] = [
    ChapGroup::Ffdhe2048,
    ChapGroup::Ffdhe3072,
    ChapGroup::Ffdhe4096,
    ChapGroup::Ffdhe6144,
    ChapGroup::Ffdhe8192,
];

/// Reads all hosts.
pub(crate) fn hosts(walk: &mut Walk<'_>, root: &mut Section) -> Vec<Host> {
    let Some(field) = root.take("host") else { return Vec::new() };
    let mut nqns = Unique::new("host NQN");
    let mut out = Vec::new();
    for mut section in walk.tables(field, "host", limits::KEYED_HOSTS_MAX) {
        let nqn = walk.require(&mut section, "nqn", NQN_HELP).and_then(|field| {
            let nqn = walk.parsed(&field, "a host NQN", NQN_HELP, HostNqn::parse)?;
            nqns.note(walk, &field, nqn.clone(), nqn.as_str());
            Some(walk.locate(&field, nqn))
        });
        let place = walk.section_place(&section);
        let errors = walk.found.errors();
        let key = key(walk, &mut section, ("key_file", "key_credential"));
        if key.is_none() && walk.found.errors() == errors {
            walk.push(Diagnostic::error(place, "the host has no key"), KEY_HELP);
        }
        let controller_key =
            self::key(walk, &mut section, ("controller_key_file", "controller_key_credential"));
        let hashes = words(walk, &mut section, "hashes", &HASHES, &HASHES_DEFAULT);
        let groups = words(walk, &mut section, "dh_groups", &GROUPS, &GROUPS_DEFAULT);
        walk.finish(section, &keys::HOST);
        if let (Some(nqn), Some(key)) = (nqn, key) {
            out.push(Host { nqn, key, controller_key, hashes, groups });
        }
    }
    out
}

/// A key's place: a file, or a credential that systemd hands over.
fn key(
    walk: &mut Walk<'_>,
    section: &mut Section,
    (file, credential): (&str, &str),
) -> Option<KeySource> {
    let file_field = section.take(file);
    let credential_field = section.take(credential);
    if let (Some(field), Some(_)) = (&file_field, &credential_field) {
        let message = format!("\"{file}\" and \"{credential}\" exclude each other");
        walk.error(field, message, "keep the one that holds the key");
        return None;
    }
    if let Some(field) = file_field {
        let path = sections::path(walk, &field, limits::PATH_BYTES_MAX)?;
        return Some(KeySource::File(path));
    }
    let field = credential_field?;
    let name = walk.parsed(&field, "the name of a credential", "", credential_name)?;
    Some(KeySource::Credential(walk.locate(&field, name)))
}

/// A file name, as systemd.exec(5) has it for `LoadCredential=`.
fn credential_name(text: &str) -> Result<String, String> {
    let max = limits::CREDENTIAL_NAME_BYTES_MAX;
    if text.is_empty() || text.len() > max {
        return Err(format!("must have 1 to {max} bytes"));
    }
    if text == "." || text == ".." || text.contains(['/', '\0', ':']) {
        return Err("is no plain file name".to_owned());
    }
    Ok(text.to_owned())
}

/// A list of words, in the order of preference.
fn words<T: Copy + PartialEq>(
    walk: &mut Walk<'_>,
    section: &mut Section,
    key: &str,
    known: &[(&str, T)],
    default: &[T],
) -> Vec<T> {
    let Some(field) = section.take(key) else { return default.to_vec() };
    let place = walk.place(&field);
    let errors = walk.found.errors();
    let mut out = Vec::new();
    for element in walk.elements(field, "a list of names", known.len()) {
        let Some(word) = walk.choice(&element, known) else { continue };
        if out.contains(&word) {
            walk.error(&element, "named twice", "remove one of them");
        } else {
            out.push(word);
        }
    }
    if out.is_empty() && walk.found.errors() == errors {
        let diagnostic = Diagnostic::error(place, "expected at least one name, found none");
        walk.push(diagnostic, &format!("leave \"{key}\" out to allow the usual ones"));
    }
    out
}

/// Keys that protect nothing.
pub(crate) fn doubts(walk: &mut Walk<'_>, hosts: &[Host], subsystems: &[Subsystem]) {
    let names = |subsystem: &Subsystem, host: &Host| match &subsystem.hosts {
        AllowedHosts::Any => true,
        AllowedHosts::Only(list) => list.contains(&host.nqn.value),
    };
    for host in hosts {
        if !subsystems.iter().any(|subsystem| names(subsystem, host)) {
            walk.push(
                Diagnostic::warning(
                    host.nqn.place.clone(),
                    "no subsystem lets this host in: its key is not used",
                ),
                "add its NQN to \"hosts\" of a subsystem",
            );
        }
    }
    for subsystem in subsystems {
        if !hosts.is_empty() && subsystem.hosts == AllowedHosts::Any {
            walk.push(
                Diagnostic::warning(
                    subsystem.nqn.place.clone(),
                    "allow_any_host = true lets hosts without a key in under other names",
                ),
                "list the hosts instead, each with a [[host]] section",
            );
        }
    }
}

/// The word of a hash function or a group.
pub(crate) fn word<T: Copy + PartialEq>(known: &[(&'static str, T)], value: T) -> &'static str {
    known.iter().find(|(_, one)| *one == value).map_or("", |(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_plain_file_names() {
        assert!(credential_name("host-a.key").is_ok());
        for bad in ["", ".", "..", "a/b", "a:b", "a\0", &"x".repeat(256)] {
            assert!(credential_name(bad).is_err(), "{bad:?}");
        }
    }
}
