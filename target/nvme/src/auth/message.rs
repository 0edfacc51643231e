//! The messages of an exchange (NVMe Base 2.0 §8.13.4 and §8.13.5).

use super::check::Check;
use super::group::Group;
use super::hash::Hash;

/// AUTH_TYPE of messages that every protocol has.
const COMMON: u8 = 0;
/// AUTH_TYPE of DH-HMAC-CHAP.
const DH_HMAC_CHAP: u8 = 1;

mod auth_id {
    pub(super) const NEGOTIATE: u8 = 0x00;
    pub(super) const CHALLENGE: u8 = 0x01;
    pub(super) const REPLY: u8 = 0x02;
    pub(super) const SUCCESS1: u8 = 0x03;
    pub(super) const SUCCESS2: u8 = 0x04;
    pub(super) const FAILURE2: u8 = 0xf0;
    pub(super) const FAILURE1: u8 = 0xf1;
}

/// Bytes before the variable part of Challenge, Reply and Success1; all of Success2.
const HEADER_BYTES: usize = 16;
/// Bytes of Negotiate before its descriptors.
const NEGOTIATE_BYTES: usize = 8;
/// Bytes of a protocol descriptor.
const DESCRIPTOR_BYTES: usize = 64;
/// Identifiers of one kind that a descriptor has room for.
const IDENTIFIERS_MAX: usize = 30;
/// Bytes of Failure2 that mean something.
const FAILURE_BYTES: usize = 8;
/// Reason code of a failed authentication, the only one there is.
const REASON_FAILED: u8 = 1;

/// A message of a host: lengths checked, nothing else believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// AUTH_Negotiate.
    Negotiate(Negotiate<'a>),
    /// DH-HMAC-CHAP_Reply.
    Reply(Reply<'a>),
    /// DH-HMAC-CHAP_Success2.
    Success2 {
        /// T_ID.
        transaction: u16,
    },
    /// AUTH_Failure2.
    Failure2 {
        /// T_ID.
        transaction: u16,
    },
}

/// AUTH_Negotiate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiate<'a> {
    /// T_ID.
    pub transaction: u16,
    /// SC_C.
    pub secure_channel: u8,
    /// Identifiers of hash functions, where DH-HMAC-CHAP is offered at all.
    pub(crate) offer: Option<Offer<'a>>,
}

/// What a host offers for DH-HMAC-CHAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer<'a> {
    pub(crate) hashes: &'a [u8],
    pub(crate) groups: &'a [u8],
}

/// DH-HMAC-CHAP_Reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// T_ID.
    pub transaction: u16,
    /// CVALID: the host challenges us.
    pub challenges: bool,
    /// S2.
    pub sequence: u32,
    /// R1.
    pub response: &'a [u8],
    /// C2; meaningless unless `challenges`.
    pub challenge: &'a [u8],
    /// The host's Diffie-Hellman value.
    pub value: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

impl<'a> Message<'a> {
    /// Reads a message, all of whose bytes must be there and no more.
    ///
    /// # Errors
    /// Its length is wrong, or it is none that a host sends.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Check> {
        let (Some(kind), Some(id)) = (bytes.first(), bytes.get(1)) else {
            return Err(Check::Length);
        };
        let transaction = word(bytes, 4);
        match (*kind, *id) {
            (COMMON, auth_id::NEGOTIATE) => negotiate(bytes).map(Self::Negotiate),
            (COMMON, auth_id::FAILURE2) if bytes.len() >= FAILURE_BYTES => {
                Ok(Self::Failure2 { transaction })
            }
            (DH_HMAC_CHAP, auth_id::REPLY) => reply(bytes).map(Self::Reply),
            (DH_HMAC_CHAP, auth_id::SUCCESS2) if bytes.len() == HEADER_BYTES => {
                Ok(Self::Success2 { transaction })
            }
            (COMMON, auth_id::FAILURE2) | (DH_HMAC_CHAP, auth_id::SUCCESS2) => Err(Check::Length),
            _ => Err(Check::WrongMessage),
        }
    }
}

fn negotiate(bytes: &[u8]) -> Result<Negotiate<'_>, Check> {
    if bytes.len() < NEGOTIATE_BYTES {
        return Err(Check::Length);
    }
    let count = usize::from(bytes[7]);
    let descriptors = &bytes[NEGOTIATE_BYTES..];
    if count == 0 || descriptors.len() != count * DESCRIPTOR_BYTES {
        return Err(Check::Length);
    }
    let chap =
        descriptors.chunks_exact(DESCRIPTOR_BYTES).find(|descriptor| descriptor[0] == DH_HMAC_CHAP);
    let offer = chap.map(|chap| {
        let (hashes, groups) = (usize::from(chap[2]), usize::from(chap[3]));
        if hashes > IDENTIFIERS_MAX || groups > IDENTIFIERS_MAX {
            return Err(Check::Length);
        }
        let identifiers = &chap[4..];
        Ok(Offer {
            hashes: &identifiers[..hashes],
            groups: &identifiers[IDENTIFIERS_MAX..IDENTIFIERS_MAX + groups],
        })
    });
    Ok(Negotiate {
        transaction: word(bytes, 4),
        secure_channel: bytes[6],
        offer: offer.transpose()?,
    })
}

fn reply(bytes: &[u8]) -> Result<Reply<'_>, Check> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(Check::Length)?;
    let (hash, value) = (usize::from(header[6]), usize::from(word(header, 10)));
    if rest.len() != 2 * hash + value {
        return Err(Check::Length);
    }
    Ok(Reply {
        transaction: word(header, 4),
        challenges: header[8] & 1 != 0,
        sequence: u32::from_le_bytes([header[12], header[13], header[14], header[15]]),
        response: &rest[..hash],
        challenge: &rest[hash..2 * hash],
        value: &rest[2 * hash..],
    })
}

fn header(kind: u8, id: u8, transaction: u16) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    out[0] = kind;
    out[1] = id;
    out[4..6].copy_from_slice(&transaction.to_le_bytes());
    out
}

fn byte(len: usize) -> u8 {
    // INVARIANT: no digest is longer than 64 bytes.
    u8::try_from(len).unwrap_or(u8::MAX)
}

/// DH-HMAC-CHAP_Challenge.
pub(crate) fn challenge(
    transaction: u16,
    (hash, group): (Hash, Group),
    sequence: u32,
    challenge: &[u8],
    value: &[u8],
) -> Vec<u8> {
    let mut out = header(DH_HMAC_CHAP, auth_id::CHALLENGE, transaction);
    out[6] = byte(challenge.len());
    out[8] = hash.id();
    out[9] = group.id();
    // INVARIANT: no group's value is longer than 1024 bytes.
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out[10..12].copy_from_slice(&len.to_le_bytes());
    out[12..16].copy_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(challenge);
    out.extend_from_slice(value);
    out
}

/// DH-HMAC-CHAP_Success1, with our response where the host asked for it.
pub(crate) fn success1(transaction: u16, hash: Hash, response: Option<&[u8]>) -> Vec<u8> {
    let mut out = header(DH_HMAC_CHAP, auth_id::SUCCESS1, transaction);
    out[6] = byte(hash.len_bytes());
    out[8] = u8::from(response.is_some());
    out.extend_from_slice(response.unwrap_or_default());
    out
}

/// AUTH_Failure1.
pub(crate) fn failure1(transaction: u16, check: Check) -> Vec<u8> {
    let mut out = header(COMMON, auth_id::FAILURE1, transaction);
    out[6] = REASON_FAILED;
    out[7] = check.code();
    out
}
