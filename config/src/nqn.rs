//! NVMe Qualified Names. NVMe Base 2.0 §4.5.

use std::fmt;

use uuid::Uuid;

use crate::limits;

/// The well-known name of every discovery subsystem. NVMe-oF 1.1 §1.5.2.
pub const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// Start of a name made from a UUID.
const UUID_PREFIX: &str = "nqn.2014-08.org.nvmexpress:uuid:";

/// Name of an NVM subsystem: one of the spec's two forms, at most 223 bytes, not the discovery one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubsystemNqn(String);

/// Name of a host, by the same rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostNqn(String);

macro_rules! nqn {
    ($name:ident) => {
        impl $name {
            /// Checks the name.
            ///
            /// # Errors
            /// What is wrong with it, as the end of a sentence.
            pub fn parse(text: &str) -> Result<Self, String> {
                check(text).map(|()| Self(text.to_owned()))
            }

            /// The name.
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

nqn!(SubsystemNqn);
nqn!(HostNqn);

fn check(text: &str) -> Result<(), String> {
    if text.len() > limits::NQN_BYTES_MAX {
        let max = limits::NQN_BYTES_MAX;
        return Err(format!("is {} bytes long; an NQN has at most {max}", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("holds the character {bad:?}, which no NQN may"));
    }
    if text == DISCOVERY_NQN {
        return Err("is the discovery subsystem, which is always there by itself".to_owned());
    }
    let Some(rest) = text.strip_prefix("nqn.") else {
        return Err("does not begin with \"nqn.\"".to_owned());
    };
    if let Some(uuid) = text.strip_prefix(UUID_PREFIX) {
        return match Uuid::try_parse(uuid) {
            Ok(_) if uuid.len() == 36 => Ok(()),
            Ok(_) | Err(_) => Err(format!("has no valid UUID after {UUID_PREFIX:?}")),
        };
    }
    check_date(rest)?;
    check_domain(&rest[8..])
}

/// `yyyy-mm.` at the start: the date the domain was owned.
fn check_date(rest: &str) -> Result<(), String> {
    let bytes = rest.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let shaped =
        digits(0..4) && bytes.get(4) == Some(&b'-') && digits(5..7) && bytes.get(7) == Some(&b'.');
    if !shaped {
        return Err("has no date of the form yyyy-mm. after \"nqn.\"".to_owned());
    }
    match &rest[5..7] {
        "01" | "02" | "03" | "04" | "05" | "06" | "07" | "08" | "09" | "10" | "11" | "12" => Ok(()),
        month => Err(format!("has the month {month}, which is not 01 to 12")),
    }
}

/// `reverse.domain:string`.
fn check_domain(rest: &str) -> Result<(), String> {
    let Some((domain, string)) = rest.split_once(':') else {
        return Err("has no ':' and name of your choice after the domain".to_owned());
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !domain.split('.').all(label) {
        return Err(format!("has {domain:?} where a reversed domain name belongs"));
    }
    if string.is_empty() {
        return Err("has nothing after the ':'".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_standard_are_taken() {
        let names = [
            "nqn.2026-01.org.example:disk1",
            "nqn.2014-08.com.vmware:nvme:esx-7",
            "nqn.2014-08.org.nvmexpress:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "nqn.2019-08.org.qemu:\u{e9}t\u{e9}",
            "nqn.2014-08.org.nvmexpress:mine",
        ];
        for name in names {
            assert_eq!(SubsystemNqn::parse(name).map(|nqn| nqn.to_string()), Ok(name.to_owned()));
            assert!(HostNqn::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn longest_name_has_223_bytes() {
        let name = |len: usize| format!("nqn.2026-01.org.example:{}", "x".repeat(len - 24));
        assert!(SubsystemNqn::parse(&name(223)).is_ok());
        assert!(SubsystemNqn::parse(&name(224)).unwrap_err().contains("224 bytes"));
    }

    #[test]
    fn names_of_another_form_are_refused_with_the_reason() {
        let cases = [
            ("", "begin with"),
            ("disk1", "begin with"),
            ("iqn.2026-01.org.example:disk1", "begin with"),
            ("nqn.", "yyyy-mm"),
            ("nqn.26-01.org.example:disk1", "yyyy-mm"),
            ("nqn.2026-1.org.example:disk1", "yyyy-mm"),
            ("nqn.2026-13.org.example:disk1", "month 13"),
            ("nqn.2026-00.org.example:disk1", "month 00"),
            ("nqn.2026-01", "yyyy-mm"),
            ("nqn.2026-01.", "no ':'"),
            ("nqn.2026-01.org.example", "no ':'"),
            ("nqn.2026-01.org.example:", "nothing after"),
            ("nqn.2026-01.org..example:x", "reversed domain"),
            ("nqn.2026-01.org.-example:x", "reversed domain"),
            ("nqn.2026-01.:x", "reversed domain"),
            ("nqn.2026-01.org.exa mple:x", "character ' '"),
            ("nqn.2026-01.org.example:a\0b", "character '\\0'"),
            ("nqn.2026-\u{e9}1.org.example:x", "yyyy-mm"),
            ("nqn.2014-08.org.nvmexpress:uuid:f81d4fae", "UUID"),
            ("nqn.2014-08.org.nvmexpress:uuid:f81d4fae7dec11d0a76500a0c91e6bf6", "UUID"),
            (DISCOVERY_NQN, "discovery"),
        ];
        for (name, part) in cases {
            let error = SubsystemNqn::parse(name).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
