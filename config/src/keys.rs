//! The keys of every section: for "did you mean" and for keys that stand in the wrong section.

/// A section and its keys.
pub(crate) struct Keys {
    /// How the section is written; empty for the top of the file.
    pub(crate) section: &'static str,
    /// Its keys.
    pub(crate) names: &'static [&'static str],
}

/// Keys above the first section.
pub(crate) const ROOT: Keys = Keys {
    section: "",
    names: &[
        "state_dir",
        "control_socket",
        "log",
        "reactors",
        "rdma",
        "limits",
        "listener",
        "host",
        "subsystem",
    ],
};

/// `[log]`
pub(crate) const LOG: Keys = Keys { section: "[log]", names: &["level", "format"] };

/// `[reactors]`
pub(crate) const REACTORS: Keys =
    Keys { section: "[reactors]", names: &["count", "cores", "spin"] };

/// `[rdma]`
pub(crate) const RDMA: Keys = Keys { section: "[rdma]", names: &["mode", "send_with_invalidate"] };

/// `[limits]`
pub(crate) const LIMITS: Keys = Keys {
    section: "[limits]",
    names: &[
        "hosts",
        "controllers",
        "queues",
        "queue_depth",
        "io_queues",
        "transfer",
        "in_capsule",
        "pool",
        "closing",
        "handshake",
        "keep_alive_max",
        "discovery_idle",
    ],
};

/// `[[listener]]`
pub(crate) const LISTENER: Keys =
    Keys { section: "[[listener]]", names: &["name", "transport", "address", "port"] };

/// `[[host]]`
pub(crate) const HOST: Keys = Keys {
    section: "[[host]]",
    names: &[
        "nqn",
        "key_file",
        "key_credential",
        "controller_key_file",
        "controller_key_credential",
        "hashes",
        "dh_groups",
    ],
};

/// `[[subsystem]]`
pub(crate) const SUBSYSTEM: Keys = Keys {
    section: "[[subsystem]]",
    names: &["nqn", "serial", "model", "allow_any_host", "hosts", "listeners", "namespace"],
};

/// `[[subsystem.namespace]]`
pub(crate) const NAMESPACE: Keys = Keys {
    section: "[[subsystem.namespace]]",
    names: &[
        "nsid",
        "uuid",
        "nguid",
        "eui64",
        "file",
        "device",
        "ram",
        "null",
        "size",
        "block_size",
        "direct",
        "read_only",
    ],
};

const ALL: [&Keys; 9] =
    [&ROOT, &LOG, &REACTORS, &RDMA, &LIMITS, &LISTENER, &SUBSYSTEM, &NAMESPACE, &HOST];

/// Advice for a key that `here` does not have.
pub(crate) fn advice(here: &Keys, key: &str) -> String {
    if let Some(near) = crate::near::nearest(key, here.names.iter().copied()) {
        return format!("did you mean \"{near}\"?");
    }
    if let Some(home) = ALL.iter().find(|keys| keys.names.contains(&key)) {
        return match home.section {
            "" => format!(
                "\"{key}\" belongs to the top of the file, above the first line in brackets"
            ),
            section => format!("\"{key}\" belongs in {section}"),
        };
    }
    format!("known here: {}", here.names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_is_advised_by_nearness_then_by_section_then_by_list() {
        assert_eq!(advice(&LOG, "levle"), "did you mean \"level\"?");
        assert!(advice(&LOG, "state_dir").contains("top of the file"));
        assert_eq!(advice(&ROOT, "queue_depth"), "\"queue_depth\" belongs in [limits]");
        assert_eq!(advice(&LOG, "colour_scheme"), "known here: level, format");
    }
}
