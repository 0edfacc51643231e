//! `[[listener]]`: names, addresses and ports, and which of them collide.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::limits::{self, Bound};
use crate::names::ListenerName;
use crate::schema::{Listener, Transport};
use crate::unique::Unique;
use crate::walk::{Field, Section, Walk};

/// The listeners that could be read, and whether those are all.
pub(crate) struct Listeners {
    pub(crate) list: Vec<Listener>,
    /// Every name that was read, even when the rest of its listener is wrong.
    pub(crate) names: BTreeSet<ListenerName>,
    /// Whether every listener has a name that could be read.
    pub(crate) complete: bool,
}

const NAME_HELP: &str = "add a name to call it by, like name = \"fabric-a\"";
const ADDRESS_HELP: &str = "add an address of this machine, like address = \"192.0.2.10\"";

/// Reads all listeners.
pub(crate) fn listeners(walk: &mut Walk<'_>, root: &mut Section) -> Listeners {
    let mut out = Listeners { list: Vec::new(), names: BTreeSet::new(), complete: true };
    let Some(field) = root.take("listener") else {
        walk.push(
            Diagnostic::error(walk.source.whole(), "there is no listener"),
            "add a [[listener]] with a name and an address; nobody can connect without",
        );
        out.complete = false;
        return out;
    };
    let mut names = Unique::new("listener name");
    let mut sockets = Unique::new("address");
    for mut section in walk.tables(field, "listener", limits::LISTENERS_MAX) {
        let name = name(walk, &mut section, &mut names);
        out.complete &= name.is_some();
        out.names.extend(name.clone());
        let transport = match section.take("transport") {
            Some(field) => walk.choice(&field, &[("rdma", Transport::Rdma)]),
            None => Some(Transport::Rdma),
        };
        let address = walk.require(&mut section, "address", ADDRESS_HELP);
        let address = address.and_then(|field| address_of(walk, &field).map(|at| (at, field)));
        let port = port(walk, &mut section);
        walk.finish(section, &keys::LISTENER);
        let (Some(name), Some(transport), Some((address, field)), Some(port)) =
            (name, transport, address, port)
        else {
            continue;
        };
        let shown = std::net::SocketAddr::new(address, port).to_string();
        sockets.note(walk, &field, (transport, address, port), &shown);
        collide(walk, &out.list, &field, address, port);
        let address = walk.locate(&field, address);
        out.list.push(Listener { name, transport, address, port });
    }
    out
}

fn name(
    walk: &mut Walk<'_>,
    section: &mut Section,
    names: &mut Unique<ListenerName>,
) -> Option<ListenerName> {
    let field = walk.require(section, "name", NAME_HELP)?;
    let name = walk.parsed(&field, "a name", "", ListenerName::parse)?;
    names.note(walk, &field, name.clone(), &format!("\"{name}\""));
    Some(name)
}

fn port(walk: &mut Walk<'_>, section: &mut Section) -> Option<u16> {
    let bound = Bound { min: 1, max: u16::MAX, default: limits::PORT_DEFAULT };
    match section.take("port") {
        Some(field) => walk.integer(&field, &bound),
        None => Some(bound.default),
    }
}

fn address_of(walk: &mut Walk<'_>, field: &Field) -> Option<IpAddr> {
    let text = walk.text(field, "an IP address")?;
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
    let Ok(address) = inner.parse::<IpAddr>() else {
        let help = if text.parse::<std::net::SocketAddr>().is_ok() {
            "write the port as a key of its own: port = 4420"
        } else if inner.contains('%') {
            "link-local addresses with an interface are not possible; give the port a global one"
        } else if inner.chars().any(|c| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit()) {
            "names are not looked up; write the address they stand for"
        } else {
            ""
        };
        let message = format!("expected an IP address, found {}", crate::tree::quote(&text));
        walk.error(field, message, help);
        return None;
    };
    if let Some(wrong) = unusable(address) {
        walk.error(field, format!("{address} is {wrong}"), "write an address of this machine");
        return None;
    }
    Some(address)
}

/// Why nothing can listen there.
fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        address if address.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address in IPv6 dress; write it as IPv4")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("link-local, which means nothing without its interface")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// A wildcard takes the port of every address. The kernel's RDMA connection manager also takes a
/// wildcard and an address of the other family for a collision, unless IPv6 is bound on its own.
fn collide(walk: &mut Walk<'_>, others: &[Listener], field: &Field, address: IpAddr, port: u16) {
    for other in others {
        let wildcard = address.is_unspecified() || other.address.is_unspecified();
        if !wildcard || other.port != port || *other.address == address {
            continue;
        }
        let at = other.address.place.short();
        let message = format!("port {port} of {address} collides with listener \"{}\"", other.name);
        if other.address.is_ipv4() == address.is_ipv4() {
            let help =
                format!("a wildcard takes the port of every address: change one port; see {at}");
            walk.error(field, message, &help);
        } else {
            let help =
                format!("the kernel may refuse one of them: give them different ports; see {at}");
            let message = message.replace("collides", "may collide");
            walk.warning(field, message, &help);
        }
    }
}

/// Listeners of a transport that is switched off.
pub(crate) fn switched_off(walk: &mut Walk<'_>, list: &[Listener], mode: &Field) {
    if list.iter().any(|listener| listener.transport == Transport::Rdma) {
        let help = "set rdma.mode to \"auto\" or \"on\"";
        walk.warning(mode, "rdma is off, so no \"rdma\" listener is opened", help);
    }
}

/// The names of a subsystem's `listeners`, checked against those that exist.
pub(crate) fn references(
    walk: &mut Walk<'_>,
    section: &mut Section,
    known: &Listeners,
) -> Vec<ListenerName> {
    let all = || known.list.iter().map(|listener| listener.name.clone()).collect();
    let Some(field) = section.take("listeners") else {
        return all();
    };
    let place = walk.place(&field);
    let errors = walk.found.errors();
    let mut names = Vec::new();
    for element in walk.elements(field, "a list of listener names", limits::LISTENERS_MAX) {
        let Some(name) = walk.parsed(&element, "a listener's name", "", ListenerName::parse) else {
            continue;
        };
        if known.complete && !known.names.contains(&name) {
            let near =
                crate::near::nearest(name.as_str(), known.names.iter().map(ListenerName::as_str));
            let help = match near {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    let names: Vec<_> = known.names.iter().map(ListenerName::as_str).collect();
                    format!("there are: {}", names.join(", "))
                }
            };
            walk.error(&element, format!("there is no listener \"{name}\""), &help);
        } else if names.contains(&name) {
            walk.error(&element, format!("the listener \"{name}\" is named twice"), "");
        } else {
            names.push(name);
        }
    }
    if names.is_empty() && walk.found.errors() == errors {
        walk.push(
            Diagnostic::warning(place, "reachable on no listener: nobody can connect"),
            "name listeners, or leave \"listeners\" out to be reachable on all of them",
        );
    }
    names
}
