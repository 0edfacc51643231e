//! The hash functions of DH-HMAC-CHAP.

use core::fmt;

use ctutils::CtEq;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Each of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its number on the wire and in the second field of a key's text.
    pub const fn id(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        }
    }

    /// The one with that number.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.id() == id)
    }

    /// Bytes of its digest.
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Digest of `data`.
    pub(crate) fn digest(self, data: &[u8]) -> Digest {
        match self {
            Self::Sha256 => Digest::new(&Sha256::digest(data)),
            Self::Sha384 => Digest::new(&Sha384::digest(data)),
            Self::Sha512 => Digest::new(&Sha512::digest(data)),
        }
    }

    /// HMAC (RFC 2104) of all parts, one after the other.
    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Digest {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, parts),
            Self::Sha384 => mac::<Hmac<Sha384>>(key, parts),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, parts),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Digest {
    // INVARIANT: HMAC takes keys of every length.
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    Digest::new(&mac.finalize().into_bytes())
}

/// A digest, which may be a secret.
#[derive(Clone)]
pub(crate) struct Digest(Zeroizing<Vec<u8>>);

impl Digest {
    fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is these bytes; how long that takes does not depend on where they differ.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        self.0.len() == bytes.len() && self.0.as_slice().ct_eq(bytes).to_bool()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: &Digest) -> String {
        digest.as_slice().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231 §4.3 and §4.7: a short key, and one longer than a block.
    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let data: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(
            hex(&Hash::Sha256.hmac(b"Jefe", &data)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&Hash::Sha384.hmac(b"Jefe", &data)),
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
             8e2240ca5e69e2c78b3239ecfab21649"
        );
        assert_eq!(
            hex(&Hash::Sha512.hmac(b"Jefe", &data)),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(&Hash::Sha256.hmac(&[0xaa; 131], &[long])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn digest_is_compared_whole_and_never_shown() {
        let digest = Hash::Sha256.digest(b"secret");
        assert!(digest.is(digest.as_slice()));
        let mut other = digest.as_slice().to_vec();
        other[31] ^= 1;
        assert!(!digest.is(&other) && !digest.is(&other[..31]) && !digest.is(b""));
        assert_eq!(format!("{digest:?}"), "Digest(32 bytes)");
    }
}
