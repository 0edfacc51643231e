//! The other names and numbers that have a form of their own.

use std::fmt;
use std::num::NonZeroU32;

use uuid::Uuid;

use crate::limits;
use crate::nqn::SubsystemNqn;

/// Root of the identifiers that are made from names (UUID version 5, RFC 4122 §4.3).
const IDENTITY_ROOT: Uuid = Uuid::from_u128(0x5c1e_9a0b_7d52_4f3e_9b64_0d1f_a7c3_28e6);

/// Levels in ascending order of what is logged.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Name of a listener: 1 to 64 of `a-z A-Z 0-9 - _ .`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerName(String);

/// Serial number: 1 to 20 printable ASCII characters, no space at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Serial(String);

/// Model number: 1 to 40 printable ASCII characters, no space at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Model(String);

/// A level, or comma-separated `module=level` and levels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogFilter(String);

/// Namespace ID: 1 to FFFFFFFDh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nsid(NonZeroU32);

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(ListenerName);
text!(Serial);
text!(Model);
text!(LogFilter);

impl ListenerName {
    /// Checks the name.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > limits::LISTENER_NAME_CHARS_MAX {
            return Err(format!("must have 1 to {} characters", limits::LISTENER_NAME_CHARS_MAX));
        }
        match text.chars().find(|c| !allowed(*c)) {
            Some(bad) => Err(format!("holds {bad:?}; use letters, digits, '-', '_' and '.'")),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl Serial {
    /// Checks the number.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_ascii(text, limits::SERIAL_CHARS_MAX).map(|()| Self(text.to_owned()))
    }

    /// The number of a subsystem that was given none: the same for the same NQN, always.
    pub fn derive(nqn: &SubsystemNqn) -> Self {
        let id = Uuid::new_v5(&IDENTITY_ROOT, nqn.as_str().as_bytes()).simple().to_string();
        Self(format!("SL{}", id[..18].to_ascii_uppercase()))
    }
}

impl Model {
    /// Checks the number.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_ascii(text, limits::MODEL_CHARS_MAX).map(|()| Self(text.to_owned()))
    }
}

impl Default for Model {
    fn default() -> Self {
        Self("Sluice".to_owned())
    }
}

impl LogFilter {
    /// Checks every part; the bracketed spans of `EnvFilter` are not taken.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > limits::LOG_FILTER_CHARS_MAX {
            return Err(format!("is longer than {} bytes", limits::LOG_FILTER_CHARS_MAX));
        }
        for part in text.split(',') {
            let level = match part.split_once('=') {
                Some((target, level)) => {
                    check_target(target)?;
                    level
                }
                None => part,
            };
            if !LOG_LEVELS.contains(&level) {
                return Err(unknown_level(level));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Nsid {
    /// Checks the number; `None` for 0, FFFFFFFEh and FFFFFFFFh.
    pub fn new(nsid: u32) -> Option<Self> {
        NonZeroU32::new(nsid).filter(|nsid| nsid.get() <= limits::NSID_MAX).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Nsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The UUID of a namespace that was given none: the same for the same NQN and NSID, always.
pub fn derive_uuid(nqn: &SubsystemNqn, nsid: Nsid) -> Uuid {
    // No NQN holds a NUL, so different pairs never make the same name.
    let name = format!("{nqn}\0{nsid}");
    Uuid::new_v5(&IDENTITY_ROOT, name.as_bytes())
}

fn check_ascii(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > max {
        return Err(format!("has {} bytes; 1 to {max} are allowed", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ')) {
        return Err(format!("holds {bad:?}; only printable ASCII is allowed"));
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err("begins or ends with a space, which hosts cut off".to_owned());
    }
    Ok(())
}

fn check_target(target: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if target.is_empty() || !target.chars().all(allowed) {
        return Err(format!("has {target:?} where the name of a module belongs"));
    }
    Ok(())
}

fn unknown_level(level: &str) -> String {
    match crate::near::nearest(level, LOG_LEVELS) {
        Some(near) => format!("has the unknown level {level:?}: did you mean {near:?}?"),
        None => format!("has the unknown level {level:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_identities_never_change() {
        // Hosts remember these: a change here renames every disk that has no identity of its own.
        let nqn = SubsystemNqn::parse("nqn.2026-01.org.example:disk1").unwrap();
        let nsid = Nsid::new(1).unwrap();
        assert_eq!(derive_uuid(&nqn, nsid).get_version_num(), 5);
        assert_ne!(derive_uuid(&nqn, nsid), derive_uuid(&nqn, Nsid::new(2).unwrap()));
        assert_eq!(Serial::derive(&nqn).as_str().len(), 20);
        assert!(Serial::parse(Serial::derive(&nqn).as_str()).is_ok());
        assert_eq!(
            (Serial::derive(&nqn).to_string(), derive_uuid(&nqn, nsid).to_string()),
            ("SL618A952C1FA0542CBF".to_owned(), "7ef6d9bf-09cb-56af-b544-a3f1d368fc25".to_owned())
        );
    }

    #[test]
    fn nsid_ends_before_the_reserved_numbers() {
        assert_eq!(Nsid::new(0), None);
        assert_eq!(Nsid::new(1).map(Nsid::get), Some(1));
        assert_eq!(Nsid::new(0xFFFF_FFFD).map(Nsid::get), Some(0xFFFF_FFFD));
        assert_eq!(Nsid::new(0xFFFF_FFFE), None);
        assert_eq!(Nsid::new(0xFFFF_FFFF), None);
    }

    #[test]
    fn log_filter_refuses_what_a_lenient_parser_takes_for_a_module() {
        for text in ["info", "off", "warn,sluice=debug", "nvme::queue=trace,error"] {
            assert!(LogFilter::parse(text).is_ok(), "{text}");
        }
        let cases = [
            ("debgu", "did you mean \"debug\""),
            ("", "unknown level"),
            ("info,", "unknown level"),
            ("sluice=loud", "unknown level"),
            ("=info", "module"),
            ("a b=info", "module"),
            ("x[span]=info", "module"),
        ];
        for (text, part) in cases {
            let error = LogFilter::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn serial_and_model_fit_their_fields() {
        assert!(Serial::parse(&"S".repeat(20)).is_ok());
        assert!(Serial::parse(&"S".repeat(21)).is_err());
        assert!(Model::parse(&"M".repeat(40)).is_ok());
        assert!(Model::parse(&"M".repeat(41)).is_err());
        for bad in ["", " x", "x ", "\u{e9}", "a\tb"] {
            assert!(Serial::parse(bad).is_err(), "{bad:?}");
            assert!(Model::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn listener_name_is_a_plain_label() {
        assert!(ListenerName::parse("fabric-a.1_x").is_ok());
        for bad in ["", "a b", "a/b", "\u{e9}", &"x".repeat(65)] {
            assert!(ListenerName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
