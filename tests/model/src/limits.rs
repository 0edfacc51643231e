//! How far the search goes.

/// What a path may have of what can't be had without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// Adversities that befall a run: an event out of nothing, the peer's disconnect or death, a
    /// call that fails, a doorbell, half a list, an event twice. Each of any kind, at any time.
    pub adversities: u8,
    /// Receives posted before the accept.
    pub receives: usize,
    /// A command's READ is posted too, not only its data and response.
    pub reads: bool,
    /// Messages from the peer.
    pub messages: u8,
    /// Repeated moves to ERR that are told apart.
    pub kicks: u8,
    /// States at most; a search that reaches it says so.
    pub states: usize,
}

impl Bound {
    /// For `cargo test`.
    pub const SMALL: Self =
        Self { adversities: 1, receives: 1, reads: true, messages: 0, kicks: 1, states: 100_000 };

    /// Everything once: three requests on the send queue, three receives, one adversity.
    pub const MEDIUM: Self =
        Self { adversities: 1, receives: 3, reads: true, messages: 1, kicks: 1, states: 1_000_000 };

    /// For `make model`: any two adversities.
    pub const FULL: Self = Self { adversities: 2, states: 4_000_000, ..Self::MEDIUM };

    /// The bound of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(of, _)| *of == name).map(|(_, bound)| *bound)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Self::NAMES.iter().find(|(_, bound)| bound == self).map_or("", |(name, _)| name)
    }

    const NAMES: [(&'static str, Self); 3] =
        [("small", Self::SMALL), ("medium", Self::MEDIUM), ("full", Self::FULL)];
}
