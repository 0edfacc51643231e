//! What an exchange has computed outside: it may take long, and it takes chance.

use core::fmt;

use zeroize::Zeroizing;

use super::check::Check;
use super::group::{Exponent, Group};
use super::hash::{Digest, Hash};

/// A computation: up to a tenth of a second for the largest group.
#[must_use = "work that is not run hangs its host"]
pub struct Work {
    hash: Hash,
    group: Group,
    kind: Kind,
}

enum Kind {
    /// Our challenge and our half of Diffie-Hellman.
    Begin,
    /// The shared value.
    Agree { exponent: Exponent, theirs: Vec<u8> },
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Begin => "begin",
            Kind::Agree { .. } => "agree",
        };
        write!(f, "Work({kind}, {}, {})", self.hash, self.group)
    }
}

/// What came of a [`Work`], for [`crate::Queue::handle_computed`].
#[derive(Debug)]
pub struct Computed(pub(crate) Result<Done, Check>);

#[derive(Debug)]
pub(crate) enum Done {
    Begun(Begun),
    /// The session's digest; `None` without Diffie-Hellman.
    Agreed(Option<Digest>),
}

/// Our side of an exchange.
pub(crate) struct Begun {
    pub(crate) challenge: Vec<u8>,
    pub(crate) sequence: u32,
    pub(crate) exponent: Exponent,
    pub(crate) public: Vec<u8>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begun")
    }
}

impl Computed {
    /// The work could not be done: no thread took it.
    pub fn refused() -> Self {
        Self(Err(Check::NotComputed))
    }
}

impl Work {
    pub(crate) fn begin(hash: Hash, group: Group) -> Self {
        Self { hash, group, kind: Kind::Begin }
    }

    pub(crate) fn agree(hash: Hash, group: Group, exponent: Exponent, theirs: Vec<u8>) -> Self {
        Self { hash, group, kind: Kind::Agree { exponent, theirs } }
    }

    /// Does it. `fill` makes bytes random, fit for secrets, and says whether it could.
    pub fn run(self, fill: impl FnMut(&mut [u8]) -> bool) -> Computed {
        let Self { hash, group, kind } = self;
        Computed(match kind {
            Kind::Begin => begin(hash, group, fill).ok_or(Check::NotComputed),
            Kind::Agree { exponent, theirs } => agree(hash, group, &exponent, &theirs),
        })
    }
}

fn begin(hash: Hash, group: Group, mut fill: impl FnMut(&mut [u8]) -> bool) -> Option<Done> {
    let mut challenge = vec![0; hash.len_bytes()];
    let mut sequence = [0; 4];
    let mut entropy = Zeroizing::new(vec![0; group.exponent_bytes()]);
    if !fill(&mut challenge) || !fill(&mut sequence) || !fill(&mut entropy) {
        return None;
    }
    let exponent = Exponent::new(&mut entropy);
    let public = group.public(&exponent);
    // 0 means that there is no challenge.
    let sequence = u32::from_le_bytes(sequence).max(1);
    Some(Done::Begun(Begun { challenge, sequence, exponent, public }))
}

fn agree(hash: Hash, group: Group, exponent: &Exponent, theirs: &[u8]) -> Result<Done, Check> {
    let shared = group.shared(exponent, theirs)?;
    let session = (group != Group::Null).then(|| hash.digest(&shared));
    Ok(Done::Agreed(session))
}
