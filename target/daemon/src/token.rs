//! Names of things that live in a reactor: reactor, slot, generation.

use transport::device::Token;

/// A connection or controller: which reactor, which slot, which use of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Reactor.
    pub reactor: u8,
    /// Slot in the reactor's table, below 2^24.
    pub slot: u32,
    /// Differs for each use of the slot.
    pub generation: u32,
}

const SLOT: u64 = (1 << 24) - 1;

impl Name {
    /// In 64 bits.
    #[must_use]
    pub fn to_raw(self) -> u64 {
        u64::from(self.reactor) << 56
            | (u64::from(self.slot) & SLOT) << 32
            | u64::from(self.generation)
    }

    /// From 64 bits.
    #[must_use]
    pub fn from_raw(raw: u64) -> Self {
        let [reactor, s2, s1, s0, g3, g2, g1, g0] = raw.to_be_bytes();
        Self {
            reactor,
            slot: u32::from_be_bytes([0, s2, s1, s0]),
            generation: u32::from_be_bytes([g3, g2, g1, g0]),
        }
    }
}

impl From<Name> for Token {
    fn from(name: Name) -> Self {
        Self(name.to_raw())
    }
}

impl From<Token> for Name {
    fn from(token: Token) -> Self {
        Self::from_raw(token.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_as_it_went() {
        let name = Name { reactor: 255, slot: 0x00AB_CDEF, generation: 0xDEAD_BEEF };
        assert_eq!(Name::from_raw(name.to_raw()), name);
    }
}
