//! `[[subsystem]]`: names, who may connect, and where.

use std::path::PathBuf;

use uuid::Uuid;

use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::limits;
use crate::listener::{self, Listeners};
use crate::names::{Model, Serial};
use crate::namespace;
use crate::nqn::{HostNqn, SubsystemNqn};
use crate::schema::{AllowedHosts, Subsystem};
use crate::unique::Unique;
use crate::walk::{Field, Section, Walk};

const NQN_FORM: &str = "an NQN";
const NQN_HELP: &str = "an NQN looks like \"nqn.2026-01.org.example:disk1\": year and month in \
    which you owned the domain, the domain reversed, ':' and a name of your choice";

/// What may appear only once across all subsystems.
pub(crate) struct Identities {
    pub(crate) nqns: Unique<SubsystemNqn>,
    pub(crate) uuids: Unique<Uuid>,
    pub(crate) nguids: Unique<[u8; 16]>,
    pub(crate) eui64s: Unique<[u8; 8]>,
    /// Backing paths, each with whether all its uses only read.
    pub(crate) paths: std::collections::BTreeMap<PathBuf, (bool, String)>,
}

/// Reads all subsystems.
pub(crate) fn subsystems(
    walk: &mut Walk<'_>,
    root: &mut Section,
    known: &Listeners,
) -> Vec<Subsystem> {
    let Some(field) = root.take("subsystem") else {
        walk.push(
            Diagnostic::warning(walk.source.whole(), "there is no subsystem: nothing is exported"),
            "add a [[subsystem]] with an nqn and a [[subsystem.namespace]]",
        );
        return Vec::new();
    };
    let mut identities = Identities {
        nqns: Unique::new("subsystem NQN"),
        uuids: Unique::new("UUID"),
        nguids: Unique::new("NGUID"),
        eui64s: Unique::new("EUI-64"),
        paths: std::collections::BTreeMap::new(),
    };
    let mut out = Vec::new();
    for section in walk.tables(field, "subsystem", limits::SUBSYSTEMS_MAX) {
        out.extend(subsystem(walk, section, known, &mut identities));
    }
    out
}

fn subsystem(
    walk: &mut Walk<'_>,
    mut section: Section,
    known: &Listeners,
    identities: &mut Identities,
) -> Option<Subsystem> {
    let place = walk.section_place(&section);
    let nqn = walk.require(&mut section, "nqn", NQN_HELP).and_then(|field| {
        let nqn = walk.parsed(&field, NQN_FORM, NQN_HELP, SubsystemNqn::parse)?;
        identities.nqns.note(walk, &field, nqn.clone(), nqn.as_str());
        Some(walk.locate(&field, nqn))
    });
    let serial = section.take("serial");
    let serial = serial.and_then(|field| {
        walk.parsed(&field, "a serial number of 1 to 20 characters", "", Serial::parse)
    });
    let model = section.take("model").and_then(|field| {
        walk.parsed(&field, "a model number of 1 to 40 characters", "", Model::parse)
    });
    let hosts = hosts(walk, &mut section);
    let listeners = listener::references(walk, &mut section, known);
    let namespaces = match section.take("namespace") {
        Some(field) => {
            let name = nqn.as_ref().map(|nqn| &nqn.value);
            namespace::namespaces(walk, field, name, identities)
        }
        None => {
            walk.push(
                Diagnostic::warning(place, "the subsystem has no namespace: hosts see no disk"),
                "add a [[subsystem.namespace]] below it",
            );
            Vec::new()
        }
    };
    walk.finish(section, &keys::SUBSYSTEM);
    let nqn = nqn?;
    let serial = serial.unwrap_or_else(|| Serial::derive(&nqn));
    let model = model.unwrap_or_default();
    Some(Subsystem { nqn, serial, model, hosts, listeners, namespaces })
}

fn hosts(walk: &mut Walk<'_>, section: &mut Section) -> AllowedHosts {
    let place = walk.section_place(section);
    let any = section.take("allow_any_host");
    let any_value = any.as_ref().and_then(|field| walk.boolean(field));
    let list = section.take("hosts");
    if let (Some(true), Some(list)) = (any_value, &list) {
        let help = "keep \"hosts\" to let in only these, or \"allow_any_host\" to let in everyone";
        walk.error(list, "\"hosts\" is given, but allow_any_host = true lets in everyone", help);
    }
    let errors = walk.found.errors();
    let unread = any.is_some() && any_value.is_none();
    let only = list.map(|field| host_list(walk, field)).unwrap_or_default();
    if any_value == Some(true) {
        return AllowedHosts::Any;
    }
    if only.is_empty() && !unread && walk.found.errors() == errors {
        walk.push(
            Diagnostic::warning(place, "no host is allowed: nobody can connect"),
            "add hosts = [\"nqn...\"] with the NQNs of /etc/nvme/hostnqn on the hosts, \
             or allow_any_host = true",
        );
    }
    AllowedHosts::Only(only)
}

fn host_list(walk: &mut Walk<'_>, field: Field) -> Vec<HostNqn> {
    let help = "copy it from /etc/nvme/hostnqn of the host";
    let mut hosts: Vec<HostNqn> = Vec::new();
    let mut met = std::collections::BTreeSet::new();
    for element in walk.elements(field, "a list of host NQNs", limits::ALLOWED_HOSTS_MAX) {
        let Some(host) = walk.parsed(&element, "a host NQN", help, HostNqn::parse) else {
            continue;
        };
        if met.insert(host.clone()) {
            hosts.push(host);
        } else {
            walk.warning(&element, "the host is named twice", "remove one of them");
        }
    }
    hosts
}
