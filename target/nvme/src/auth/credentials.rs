//! What a host and a subsystem know of each other, and which algorithms the operator allows.

use core::fmt;

use super::group::Group;
use super::hash::{Digest, Hash};
use super::key::{Key, ResponseKey};
use crate::ident::{HostNqn, SubNqn};

/// Algorithms that may be used, the most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Hash functions.
    pub hashes: Vec<Hash>,
    /// Groups.
    pub groups: Vec<Group>,
}

impl Default for Policy {
    /// Every hash, and every group with Diffie-Hellman in it, the cheapest of those first: 2048
    /// bits are as strong as the exchange needs for the moment that it lasts.
    fn default() -> Self {
        let with_dh = Group::ALL.into_iter().filter(|group| *group != Group::Null);
        Self { hashes: Hash::ALL.into_iter().rev().collect(), groups: with_dh.collect() }
    }
}

/// The keys of one host for one subsystem, transformed, and the names that go into responses.
pub struct Credentials {
    host: HostNqn,
    subsystem: SubNqn,
    host_key: ResponseKey,
    controller_key: Option<ResponseKey>,
    policy: Policy,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} at {})", self.host, self.subsystem)
    }
}

impl Credentials {
    /// `controller_key` is for hosts that want to know who answers them.
    pub fn new(
        host: HostNqn,
        subsystem: SubNqn,
        host_key: &Key,
        controller_key: Option<&Key>,
        policy: Policy,
    ) -> Self {
        Self {
            host_key: host_key.transformed(host.as_str()),
            controller_key: controller_key.map(|key| key.transformed(subsystem.as_str())),
            host,
            subsystem,
            policy,
        }
    }

    /// The host.
    pub fn host(&self) -> &HostNqn {
        &self.host
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the host must respond (NVMe Base 2.0 §8.13.5.4).
    pub(crate) fn host_response(&self, said: &Said<'_>) -> Digest {
        let names = [self.host.as_str(), self.subsystem.as_str()];
        said.response(&self.host_key, "HostHost", names)
    }

    /// What we respond; `None` where there is no key to do it with.
    pub(crate) fn controller_response(&self, said: &Said<'_>) -> Option<Digest> {
        let names = [self.subsystem.as_str(), self.host.as_str()];
        let key = self.controller_key.as_ref()?;
        Some(said.response(key, "Controller", names))
    }
}

/// One side's challenge, and what else goes into the response to it.
pub(crate) struct Said<'a> {
    pub(crate) hash: Hash,
    pub(crate) challenge: &'a [u8],
    pub(crate) sequence: u32,
    pub(crate) transaction: u16,
    /// Digest of the shared value; `None` without Diffie-Hellman.
    pub(crate) session: Option<&'a Digest>,
}

impl Said<'_> {
    fn response(&self, key: &ResponseKey, label: &str, [from, to]: [&str; 2]) -> Digest {
        // Secure channel concatenation is never agreed to: SC_C is 0.
        const SC_C: [u8; 1] = [0];
        let augmented =
            self.session.map(|session| self.hash.hmac(session.as_slice(), &[self.challenge]));
        let challenge = augmented.as_ref().map_or(self.challenge, Digest::as_slice);
        self.hash.hmac(
            key.as_slice(),
            &[
                challenge,
                &self.sequence.to_le_bytes(),
                &self.transaction.to_le_bytes(),
                &SC_C,
                label.as_bytes(),
                from.as_bytes(),
                &[0],
                to.as_bytes(),
            ],
        )
    }
}
