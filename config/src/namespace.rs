//! `[[subsystem.namespace]]`: numbers, identifiers and where the blocks are.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::diagnostic::{Diagnostic, Located};
use crate::keys;
use crate::limits::{self, Bound};
use crate::names::{Nsid, derive_uuid};
use crate::nqn::SubsystemNqn;
use crate::preflight::Disk;
use crate::schema::{Backend, BlockSize, DirectIo, Namespace};
use crate::sections;
use crate::size::SizeBytes;
use crate::subsystem::Identities;
use crate::unique::Unique;
use crate::walk::{Field, Section, Walk};

const BACKENDS: [&str; 4] = ["file", "device", "ram", "null"];
const BACKEND_HELP: &str = "give exactly one of file = \"/path\", device = \"/dev/...\", \
    ram = \"1 GiB\" and null = \"1 GiB\"";
const NSID_HELP: &str = "number the namespaces of a subsystem yourself, like nsid = 1: hosts \
    remember a disk by it";

/// Reads the namespaces of one subsystem; `nqn` is its name, where that could be read.
pub(crate) fn namespaces(
    walk: &mut Walk<'_>,
    field: Field,
    nqn: Option<&SubsystemNqn>,
    identities: &mut Identities,
) -> Vec<Namespace> {
    let mut nsids = Unique::new("NSID");
    let mut out = Vec::new();
    for section in walk.tables(field, "subsystem.namespace", limits::NAMESPACES_MAX) {
        out.extend(namespace(walk, section, nqn, identities, &mut nsids));
    }
    out.sort_by_key(|namespace| namespace.nsid);
    out
}

fn namespace(
    walk: &mut Walk<'_>,
    mut section: Section,
    nqn: Option<&SubsystemNqn>,
    identities: &mut Identities,
    nsids: &mut Unique<u32>,
) -> Option<Namespace> {
    let nsid_field = walk.require(&mut section, "nsid", NSID_HELP);
    let bound = Bound { min: 1, max: limits::NSID_MAX, default: 1 };
    let nsid = nsid_field.as_ref().and_then(|field| {
        let nsid = walk.integer(field, &bound)?;
        nsids.note(walk, field, nsid, &nsid.to_string());
        Nsid::new(nsid)
    });
    let uuid = match section.take("uuid") {
        Some(field) => uuid(walk, &field, identities),
        None => nqn.zip(nsid).map(|(nqn, nsid)| {
            let uuid = derive_uuid(nqn, nsid);
            if let Some(field) = &nsid_field
                && !nsids.repeated()
                && !identities.nqns.repeated()
            {
                identities.uuids.note(walk, field, uuid, &uuid.to_string());
            }
            uuid
        }),
    };
    let nguid = section.take("nguid").and_then(|field| {
        let nguid = hex(walk, &field, "an NGUID of 32 hexadecimal digits")?;
        identities.nguids.note(walk, &field, nguid, "");
        Some(nguid)
    });
    let eui64 = section.take("eui64").and_then(|field| {
        let eui64 = hex(walk, &field, "an EUI-64 of 16 hexadecimal digits")?;
        identities.eui64s.note(walk, &field, eui64, "");
        Some(eui64)
    });
    let errors = walk.found.errors();
    let block_size_field = section.take("block_size");
    let block_size = block_size_field.as_ref().and_then(|field| block_size(walk, field));
    let backend = backend(walk, &mut section, block_size.unwrap_or(BlockSize::B512));
    let direct_field = section.take("direct");
    let words = [("auto", DirectIo::Auto), ("on", DirectIo::On), ("off", DirectIo::Off)];
    let direct = direct_field.as_ref().and_then(|field| walk.choice(field, &words));
    let read_only =
        section.take("read_only").and_then(|field| walk.boolean(&field)).unwrap_or(false);
    walk.finish(section, &keys::NAMESPACE);
    let backend = backend?;
    // Where a key of the disk is wrong, what the machine has says nothing about what was meant.
    if walk.found.errors() == errors {
        walk.disks.push(Disk { backend: backend.clone(), block_size, read_only });
    }
    let mut direct = direct.unwrap_or(DirectIo::Auto);
    match &backend {
        Backend::File { path, create: _ } | Backend::Device { path } => {
            share(walk, identities, path, read_only);
        }
        Backend::Ram { .. } | Backend::Null { .. } => {
            direct = DirectIo::Auto;
            if let Some(field) = direct_field {
                walk.warning(
                    &field,
                    "\"direct\" has no effect here",
                    "it is for files and devices",
                );
            }
        }
    }
    let (nsid, uuid) = (nsid?, uuid?);
    Some(Namespace { nsid, uuid, nguid, eui64, backend, block_size, direct, read_only })
}

fn uuid(walk: &mut Walk<'_>, field: &Field, identities: &mut Identities) -> Option<Uuid> {
    let help = "make one with uuidgen, or leave it out: it then follows from nqn and nsid";
    let parse = |text: &str| match Uuid::try_parse(text) {
        Ok(uuid) if uuid.is_nil() => Err("is all zero, which means none".to_owned()),
        Ok(uuid) if matches!(text.len(), 32 | 36) => Ok(uuid),
        Ok(_) | Err(_) => Err("is none".to_owned()),
    };
    let uuid = walk.parsed(field, "a UUID", help, parse)?;
    identities.uuids.note(walk, field, uuid, &uuid.to_string());
    Some(uuid)
}

/// Exactly `N` bytes in hexadecimal, with '-', ':' or nothing between them.
fn hex<const N: usize>(walk: &mut Walk<'_>, field: &Field, expected: &str) -> Option<[u8; N]> {
    let parse = |text: &str| {
        let mut digits = Vec::with_capacity(2 * N);
        for character in text.chars().filter(|c| !matches!(c, '-' | ':')) {
            let digit = character.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digits.push(digit.ok_or_else(|| format!("holds {character:?}"))?);
        }
        if digits.len() != 2 * N {
            return Err(format!("has {} digits", digits.len()));
        }
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | digit);
        }
        if bytes == [0; N] { Err("is all zero, which means none".to_owned()) } else { Ok(bytes) }
    };
    walk.parsed(field, expected, "", parse)
}

/// `512`, `4096`, or the same as a size.
fn block_size(walk: &mut Walk<'_>, field: &Field) -> Option<BlockSize> {
    let errors = walk.found.errors();
    let bytes = if field.is_text() {
        walk.size(field, 512, 4096).map(SizeBytes::bytes)
    } else {
        walk.integer(field, &Bound { min: 512, max: 4096, default: 512 })
    };
    match bytes {
        Some(512) => Some(BlockSize::B512),
        Some(4096) => Some(BlockSize::B4096),
        Some(_) | None => {
            if walk.found.errors() == errors {
                walk.error(field, "expected 512 or 4096", "");
            }
            None
        }
    }
}

fn backend(walk: &mut Walk<'_>, section: &mut Section, block: BlockSize) -> Option<Backend> {
    let place = walk.section_place(section);
    let size_field = section.take("size");
    let size = size_field.as_ref().and_then(|field| disk_size(walk, field, None, block));
    let mut given: Vec<(&str, Field)> = Vec::new();
    for key in BACKENDS {
        given.extend(section.take(key).map(|field| (key, field)));
    }
    if given.len() > 1 {
        let keys: Vec<&str> = given.iter().map(|(key, _)| *key).collect();
        let message = format!("{} exclude each other", keys.join(" and "));
        walk.push(Diagnostic::error(place, message), BACKEND_HELP);
        return None;
    }
    let Some((key, field)) = given.pop() else {
        let message = "it is not said where the blocks are";
        walk.push(Diagnostic::error(place, message), BACKEND_HELP);
        return None;
    };
    if let Some(size) = &size_field
        && key != "file"
    {
        let help = match key {
            "device" => "a device has the size it has: remove it",
            _ => "the value of \"ram\" and \"null\" is their size: remove it",
        };
        walk.error(size, format!("\"size\" does not go with \"{key}\""), help);
    }
    match key {
        "file" => {
            let path = sections::path(walk, &field, limits::PATH_BYTES_MAX)?;
            Some(Backend::File { path, create: size })
        }
        "device" => {
            let path = sections::path(walk, &field, limits::PATH_BYTES_MAX)?;
            Some(Backend::Device { path })
        }
        "ram" => {
            let size = disk_size(walk, &field, Some(limits::RAM_BYTES_MAX), block)?;
            Some(Backend::Ram { size: walk.locate(&field, size) })
        }
        _ => Some(Backend::Null { size: disk_size(walk, &field, None, block)? }),
    }
}

/// The size of a disk: whole blocks.
fn disk_size(
    walk: &mut Walk<'_>,
    field: &Field,
    max: Option<u64>,
    block: BlockSize,
) -> Option<SizeBytes> {
    let max = max.unwrap_or(limits::NAMESPACE_BYTES_MAX);
    let size = walk.size(field, limits::NAMESPACE_BYTES_MIN, max)?;
    let block = u64::from(block.bytes());
    if size.bytes().is_multiple_of(block) {
        return Some(size);
    }
    let near = SizeBytes(size.bytes() / block * block);
    let help = format!("the nearest below is \"{near}\"");
    walk.error(field, format!("expected a multiple of the block size, {block} bytes"), &help);
    None
}

/// Two namespaces on the same path destroy each other's data, unless both only read.
fn share(
    walk: &mut Walk<'_>,
    identities: &mut Identities,
    path: &Located<PathBuf>,
    read_only: bool,
) {
    let plain = lexical(path);
    let first = identities.paths.get(&plain).cloned();
    if let Some((reading, at)) = first {
        if !(reading && read_only) {
            let message = format!("{:?} is the backing of two namespaces", plain);
            let help = format!("each needs its own, unless both are read_only; the first is {at}");
            walk.push(Diagnostic::error(path.place.clone(), message), &help);
        }
        identities.paths.insert(plain, (reading && read_only, at));
    } else {
        identities.paths.insert(plain, (read_only, path.place.short()));
    }
}

/// The path without empty and `.` parts. What links and `..` hide is found by preflight.
fn lexical(path: &Path) -> PathBuf {
    path.components().collect()
}
