//! A configuration back as text: every default spelled out.

use std::fmt::Write as _;

use crate::duration::show_duration;
use crate::host::{GROUPS, HASHES, word};
use crate::names::ListenerName;
use crate::nqn::HostNqn;
use crate::schema::{
    AllowedHosts, Backend, Config, DirectIo, Host, KeySource, Limits, LogFormat, Namespace,
    Placement, RdmaMode, SendWithInvalidate, Subsystem, Transport,
};

impl Config {
    /// The configuration as TOML that [`crate::parse`] reads back to an equal one.
    ///
    /// Paths that are not UTF-8 can't come from a file and are shown with their bad bytes replaced.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        line(&mut out, "state_dir", &text(&self.state_dir.to_string_lossy()));
        line(&mut out, "control_socket", &text(&self.control_socket.to_string_lossy()));
        self.once(&mut out);
        limits(&mut out, &self.limits);
        for listener in &self.listeners {
            out.push_str("\n[[listener]]\n");
            let transport = match listener.transport {
                Transport::Rdma => "rdma",
            };
            line(&mut out, "name", &text(listener.name.as_str()));
            line(&mut out, "transport", &text(transport));
            line(&mut out, "address", &text(&listener.address.to_string()));
            line(&mut out, "port", &listener.port.to_string());
        }
        for entry in &self.hosts {
            host(&mut out, entry);
        }
        for entry in &self.subsystems {
            subsystem(&mut out, entry);
        }
        out
    }

    /// `[log]`, `[reactors]` and `[rdma]`.
    fn once(&self, out: &mut String) {
        let format = match self.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        out.push_str("\n[log]\n");
        line(out, "level", &text(self.log.level.as_str()));
        line(out, "format", &text(format));
        out.push_str("\n[reactors]\n");
        match &self.reactors.placement {
            Placement::Count(count) => line(out, "count", &count.to_string()),
            Placement::Cores(cores) => line(out, "cores", &format!("{cores:?}")),
        }
        line(out, "spin", &text(&show_duration(self.reactors.spin)));
        let mode = match self.rdma.mode {
            RdmaMode::Auto => "auto",
            RdmaMode::On => "on",
            RdmaMode::Off => "off",
        };
        let send_with_invalidate = match self.rdma.send_with_invalidate {
            SendWithInvalidate::Auto => "auto",
            SendWithInvalidate::Off => "off",
        };
        out.push_str("\n[rdma]\n");
        line(out, "mode", &text(mode));
        line(out, "send_with_invalidate", &text(send_with_invalidate));
    }
}

fn limits(out: &mut String, limits: &Limits) {
    let bytes = |bytes: u32| text(&crate::size::SizeBytes(u64::from(bytes)).to_string());
    out.push_str("\n[limits]\n");
    line(out, "hosts", &limits.hosts.to_string());
    line(out, "controllers", &limits.controllers.to_string());
    line(out, "queues", &limits.queues.to_string());
    line(out, "queue_depth", &limits.queue_depth.to_string());
    line(out, "io_queues", &limits.io_queues.to_string());
    line(out, "transfer", &bytes(limits.transfer_bytes));
    line(out, "in_capsule", &bytes(limits.in_capsule_bytes));
    line(out, "pool", &text(&limits.pool.to_string()));
    line(out, "closing", &limits.closing.to_string());
    line(out, "handshake", &text(&show_duration(limits.handshake)));
    line(out, "keep_alive_max", &text(&show_duration(limits.keep_alive_max)));
    line(out, "discovery_idle", &text(&show_duration(limits.discovery_idle)));
}

fn host(out: &mut String, host: &Host) {
    out.push_str("\n[[host]]\n");
    line(out, "nqn", &text(host.nqn.as_str()));
    let mut key = |source: &KeySource, file: &str, credential: &str| match source {
        KeySource::File(path) => line(out, file, &text(&path.to_string_lossy())),
        KeySource::Credential(name) => line(out, credential, &text(name)),
    };
    key(&host.key, "key_file", "key_credential");
    if let Some(source) = &host.controller_key {
        key(source, "controller_key_file", "controller_key_credential");
    }
    line(out, "hashes", &list(host.hashes.iter().map(|hash| word(&HASHES, *hash))));
    line(out, "dh_groups", &list(host.groups.iter().map(|group| word(&GROUPS, *group))));
}

fn subsystem(out: &mut String, subsystem: &Subsystem) {
    out.push_str("\n[[subsystem]]\n");
    line(out, "nqn", &text(subsystem.nqn.as_str()));
    line(out, "serial", &text(subsystem.serial.as_str()));
    line(out, "model", &text(subsystem.model.as_str()));
    match &subsystem.hosts {
        AllowedHosts::Any => line(out, "allow_any_host", "true"),
        AllowedHosts::Only(hosts) => {
            line(out, "allow_any_host", "false");
            line(out, "hosts", &list(hosts.iter().map(HostNqn::as_str)));
        }
    }
    line(out, "listeners", &list(subsystem.listeners.iter().map(ListenerName::as_str)));
    for entry in &subsystem.namespaces {
        namespace(out, entry);
    }
}

fn namespace(out: &mut String, namespace: &Namespace) {
    let hex = |bytes: &[u8]| {
        let mut digits = String::new();
        for byte in bytes {
            // Writing to a String can't fail.
            let _ = write!(digits, "{byte:02x}");
        }
        text(&digits)
    };
    out.push_str("\n[[subsystem.namespace]]\n");
    line(out, "nsid", &namespace.nsid.to_string());
    line(out, "uuid", &text(&namespace.uuid.to_string()));
    if let Some(nguid) = &namespace.nguid {
        line(out, "nguid", &hex(nguid));
    }
    if let Some(eui64) = &namespace.eui64 {
        line(out, "eui64", &hex(eui64));
    }
    match &namespace.backend {
        Backend::File { path, create } => {
            line(out, "file", &text(&path.to_string_lossy()));
            if let Some(size) = create {
                line(out, "size", &text(&size.to_string()));
            }
        }
        Backend::Device { path } => line(out, "device", &text(&path.to_string_lossy())),
        Backend::Ram { size } => line(out, "ram", &text(&size.to_string())),
        Backend::Null { size } => line(out, "null", &text(&size.to_string())),
    }
    if let Some(block_size) = namespace.block_size {
        line(out, "block_size", &block_size.bytes().to_string());
    }
    let direct = match namespace.direct {
        DirectIo::Auto => "auto",
        DirectIo::On => "on",
        DirectIo::Off => "off",
    };
    if matches!(namespace.backend, Backend::File { .. } | Backend::Device { .. }) {
        line(out, "direct", &text(direct));
    }
    line(out, "read_only", if namespace.read_only { "true" } else { "false" });
}

fn line(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push_str(" = ");
    out.push_str(value);
    out.push('\n');
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// An array, one element on a line: lines have a bounded length.
fn list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut out = "[".to_owned();
    for value in values {
        out.push_str("\n    ");
        out.push_str(&text(value));
        out.push(',');
    }
    out.push_str(if out.len() > 1 { "\n]" } else { "]" });
    out
}
