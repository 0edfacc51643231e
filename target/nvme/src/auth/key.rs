//! Keys in the text form that nvme-cli writes: `DHHC-1:hh:base64:` (NVMe Base 2.0 §8.13.5.8).

use core::fmt;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::hash::{Digest, Hash};

/// Start of every key's text.
const PREFIX: &str = "DHHC-1:";

/// What is hashed behind the NQN when a key is transformed.
const TRANSFORM_LABEL: &[u8] = b"NVMe-over-Fabrics";

/// Bytes of the check sum behind a key.
const CRC_BYTES: usize = 4;

/// Longest text of a key: 64 bytes and 4 of check sum are 92 characters of base64.
const TEXT_BYTES_MAX: usize = 7 + 3 + 92 + 1;

/// A secret that a host and a target share, and how it is transformed before its use.
pub struct Key {
    transform: Option<Hash>,
    secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.secret.len())
    }
}

/// Why a text is no key. None of these says anything about the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another form.
    #[error("does not have the form DHHC-1:hh:base64: of `nvme gen-dhchap-key`")]
    Form,
    /// An unknown transformation.
    #[error("names a transformation that is not 00, 01, 02 or 03")]
    Transform,
    /// Not base64.
    #[error("has a character that is no base64 in its third field, or a wrong padding")]
    Base64,
    /// A length that no key has.
    #[error("holds a secret of {0} bytes; keys have 32, 48 or 64")]
    Length(usize),
    /// A length that this transformation does not have.
    #[error("holds a secret of {len} bytes, but its transformation {transform} goes with {wanted}")]
    TransformLength {
        /// Bytes there.
        len: usize,
        /// Transformation named.
        transform: Hash,
        /// Bytes that it goes with.
        wanted: usize,
    },
    /// A typing mistake, or a part is missing.
    #[error("has a wrong check sum: a character was lost or changed")]
    CheckSum,
}

impl Key {
    /// Reads a key; white space around it does not matter.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::Form);
        }
        let fields = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(':'));
        let (transform, encoded) =
            fields.and_then(|fields| fields.split_once(':')).ok_or(KeyError::Form)?;
        let transform = match transform {
            "00" => None,
            "01" => Some(Hash::Sha256),
            "02" => Some(Hash::Sha384),
            "03" => Some(Hash::Sha512),
            _ => return Err(KeyError::Transform),
        };
        let decoded = Base64::decode_vec(encoded).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| KeyError::Base64)?;
        let len = decoded.len().saturating_sub(CRC_BYTES);
        if ![32, 48, 64].contains(&len) {
            return Err(KeyError::Length(len));
        }
        let (secret, sum) = decoded.split_at(len);
        if crc32(secret).to_le_bytes() != sum {
            return Err(KeyError::CheckSum);
        }
        if let Some(transform) = transform
            && transform.len_bytes() != len
        {
            let wanted = transform.len_bytes();
            return Err(KeyError::TransformLength { len, transform, wanted });
        }
        Ok(Self { transform, secret: Zeroizing::new(secret.to_vec()) })
    }

    /// A key of random bytes: as many as its transformation goes with, 32 without one.
    ///
    /// `fill` makes bytes random and says whether it could.
    pub fn generate(transform: Option<Hash>, fill: impl FnOnce(&mut [u8]) -> bool) -> Option<Self> {
        let mut secret = Zeroizing::new(vec![0; transform.map_or(32, Hash::len_bytes)]);
        fill(&mut secret).then_some(Self { transform, secret })
    }

    /// The text, to be written where only its owner reads.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.secret.len() + CRC_BYTES));
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&crc32(&self.secret).to_le_bytes());
        let encoded = Zeroizing::new(Base64::encode_string(&bytes));
        let id = self.transform.map_or(0, Hash::id);
        Zeroizing::new(format!("{PREFIX}{id:02}:{}:", *encoded))
    }

    /// Bytes of the secret.
    pub fn len_bytes(&self) -> usize {
        self.secret.len()
    }

    /// The hash function that it is transformed by.
    pub fn transform(&self) -> Option<Hash> {
        self.transform
    }

    /// Whether both hold the same secret.
    pub fn is_same(&self, other: &Self) -> bool {
        let digest = |key: &Self| Hash::Sha256.digest(&key.secret);
        digest(self).is(digest(other).as_slice())
    }

    /// What the host, or the controller, of that NQN computes its responses with.
    pub(crate) fn transformed(&self, nqn: &str) -> ResponseKey {
        match self.transform {
            None => ResponseKey(self.secret.clone()),
            Some(hash) => {
                let digest: Digest = hash.hmac(&self.secret, &[nqn.as_bytes(), TRANSFORM_LABEL]);
                ResponseKey(Zeroizing::new(digest.as_slice().to_vec()))
            }
        }
    }
}

/// A transformed key.
pub(crate) struct ResponseKey(Zeroizing<Vec<u8>>);

impl ResponseKey {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ResponseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseKey")
    }
}

/// CRC-32 of IEEE 802.3, reflected. A key is short and read once: no table is needed, and none
/// leaks what it is indexed by.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:5b0f9c3e-0d6a-4c1c-9a55-6c61620a0001";

    /// What `nvme gen-dhchap-key` 2.3 wrote for the bytes 1, 2, 3 … and [`HOST`]. With a hash it
    /// writes the transformed secret.
    const WRITTEN: [&str; 4] = [
        "DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:",
        "DHHC-1:01:6Hzx5aonEsgA3qLzc8owlrpiOC21H7/11Jfnwb+t+h7qGdKC:",
        "DHHC-1:02:izz8S+5j9v0haUMgwNqrDMa55/mFDkbxH/6ireRDGpoUUgqDROvhodfNJ5fzwsza6GxAHQ==:",
        "DHHC-1:03:zijm+HYmCJ7wumK47viwCq4vf34nsoNQNQm75qUzoKCpS/wpZqQEMsfZK9XPc/ofoyPRsULad\
         /PGlQ/KzDK0BXMdYQg=:",
    ];

    fn counting(transform: Option<Hash>) -> Key {
        let count = |bytes: &mut [u8]| {
            bytes.iter_mut().zip(1..).for_each(|(byte, i)| *byte = i);
            true
        };
        Key::generate(transform, count).unwrap()
    }

    #[test]
    fn keys_of_nvme_cli_are_read_and_written_alike() {
        for text in WRITTEN {
            let key = Key::parse(&format!(" {text}\n")).unwrap();
            assert_eq!(*key.to_text(), text);
        }
        assert_eq!(*counting(None).to_text(), WRITTEN[0]);
    }

    #[test]
    fn keys_are_transformed_as_nvme_cli_does_it() {
        for (hash, text) in Hash::ALL.into_iter().zip(&WRITTEN[1..]) {
            let ours = counting(Some(hash)).transformed(HOST);
            assert_eq!(ours.as_slice(), &**Key::parse(text).unwrap().secret, "{hash}");
        }
        assert_eq!(counting(None).transformed(HOST).as_slice()[..3], [1, 2, 3]);
    }

    #[test]
    fn texts_that_are_no_keys_say_why() {
        let cases = [
            ("", KeyError::Form),
            ("DHHC-1:00", KeyError::Form),
            ("DHHC-2:00:AQID:", KeyError::Form),
            ("DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH", KeyError::Form),
            ("DHHC-1:04:AQID:", KeyError::Transform),
            ("DHHC-1:0:AQID:", KeyError::Transform),
            ("DHHC-1:00:AQI:", KeyError::Base64),
            ("DHHC-1:00:AQ D:", KeyError::Base64),
            ("DHHC-1:00::", KeyError::Length(0)),
            ("DHHC-1:00:AQIDBAU=:", KeyError::Length(1)),
            ("DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaI:", KeyError::CheckSum),
            (
                "DHHC-1:02:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:",
                KeyError::TransformLength { len: 32, transform: Hash::Sha384, wanted: 48 },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(Key::parse(text).err(), Some(error), "{text}");
        }
        assert_eq!(Key::parse(&"D".repeat(1 << 20)).err(), Some(KeyError::Form));
    }

    #[test]
    fn debug_forms_hold_no_secret() {
        let key = counting(Some(Hash::Sha256));
        assert_eq!(format!("{key:?} {:?}", key.transformed(HOST)), "Key(32 bytes) ResponseKey");
        assert!(key.is_same(&counting(None)) && !key.is_same(&Key::parse(WRITTEN[1]).unwrap()));
    }

    #[test]
    fn check_sum_is_that_of_ieee_802_3() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
