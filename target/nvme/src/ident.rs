//! Identifiers: small numbers and names that must not be mixed up.

use core::fmt;

use crate::limits;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(
    /// Queue identifier: 0 is the admin queue.
    Qid(u16),
    "{}"
);
number!(
    /// Command identifier, chosen by the host, unique among a queue's outstanding commands.
    Cid(u16),
    "{:#06x}"
);
number!(
    /// Controller identifier, unique within a subsystem.
    Cntlid(u16),
    "{}"
);
number!(
    /// Namespace identifier.
    Nsid(u32),
    "{}"
);
number!(
    /// Identifier of a port of the subsystem, as the discovery log shows it.
    PortId(u16),
    "{}"
);
number!(
    /// The caller's name for a disk; never interpreted here.
    DiskId(u32),
    "{}"
);
number!(
    /// A host's claim about its memory key. Only the device may look at it.
    RKey(u32),
    "{:#010x}"
);

impl Qid {
    /// The admin queue.
    pub const ADMIN: Self = Self(0);
}

impl Nsid {
    /// Every namespace of the controller.
    pub const ALL: Self = Self(0xffff_ffff);
}

/// Why a text is no NVMe qualified name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NqnError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// More than 223 bytes.
    #[error("is longer than 223 bytes")]
    Long,
    /// No terminating NUL in a wire field.
    #[error("is not terminated")]
    Unterminated,
    /// Not UTF-8, or with control characters.
    #[error("is not printable UTF-8")]
    Text,
}

fn check_nqn(text: &str) -> Result<(), NqnError> {
    if text.is_empty() {
        return Err(NqnError::Empty);
    }
    if text.len() > limits::NQN_BYTES_MAX {
        return Err(NqnError::Long);
    }
    if text.chars().any(char::is_control) {
        return Err(NqnError::Text);
    }
    Ok(())
}

/// Reads a NUL-terminated NQN field of 256 bytes; what follows the terminator is ignored.
fn nqn_field(field: &[u8; limits::NQN_FIELD_BYTES]) -> Result<&str, NqnError> {
    let end = field.iter().position(|byte| *byte == 0);
    let text = &field[..end.ok_or(NqnError::Unterminated)?];
    core::str::from_utf8(text).map_err(|_| NqnError::Text)
}

macro_rules! nqn {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks length and characters, not the `nqn.` form: hosts bring names of every kind
            /// and a name that nobody configured is refused anyway.
            ///
            /// # Errors
            /// The text is empty, longer than 223 bytes or has control characters.
            pub fn new(text: &str) -> Result<Self, NqnError> {
                check_nqn(text)?;
                Ok(Self(text.into()))
            }

            /// Reads a wire field (NVMe Base 2.0, NVMe Qualified Names).
            ///
            /// # Errors
            /// As [`Self::new`], and when the field has no terminator.
            pub fn parse(field: &[u8; limits::NQN_FIELD_BYTES]) -> Result<Self, NqnError> {
                Self::new(nqn_field(field)?)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The wire field: the text and zeroes.
            pub fn emit(&self) -> [u8; limits::NQN_FIELD_BYTES] {
                let mut field = [0; limits::NQN_FIELD_BYTES];
                field[..self.0.len()].copy_from_slice(self.0.as_bytes());
                field
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

nqn!(
    /// NQN of a subsystem: at most 223 bytes of UTF-8.
    SubNqn
);
nqn!(
    /// NQN of a host: at most 223 bytes of UTF-8.
    HostNqn
);

/// NQN of every discovery subsystem (NVMe-oF 1.1 §5).
pub const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

impl SubNqn {
    /// The well-known discovery subsystem.
    pub fn discovery() -> Self {
        Self(DISCOVERY_NQN.into())
    }

    /// Whether this is the well-known discovery subsystem.
    pub fn is_discovery(&self) -> bool {
        &*self.0 == DISCOVERY_NQN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nqn_field_without_terminator_is_refused() {
        assert_eq!(SubNqn::parse(&[b'a'; 256]), Err(NqnError::Unterminated));
    }

    #[test]
    fn nqn_of_223_bytes_is_taken_and_224_refused() {
        let mut field = [0; 256];
        field[..223].fill(b'a');
        assert_eq!(HostNqn::parse(&field).unwrap().as_str().len(), 223);
        field[223] = b'a';
        assert_eq!(HostNqn::parse(&field), Err(NqnError::Long));
    }

    #[test]
    fn nqn_of_no_bytes_bad_utf8_or_control_characters_is_refused() {
        assert_eq!(HostNqn::parse(&[0; 256]), Err(NqnError::Empty));
        let mut field = [0; 256];
        field[0] = 0xff;
        assert_eq!(HostNqn::parse(&field), Err(NqnError::Text));
        field[0] = b'\n';
        assert_eq!(HostNqn::parse(&field), Err(NqnError::Text));
    }

    #[test]
    fn nqn_survives_the_wire_and_ignores_what_follows_the_terminator() {
        let nqn = SubNqn::discovery();
        let mut field = nqn.emit();
        field[200] = b'x';
        assert_eq!(SubNqn::parse(&field), Ok(nqn));
    }
}
