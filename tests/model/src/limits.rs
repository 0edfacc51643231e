//! How far the search goes.

/// What a path may have of what can't be had without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// Adversities that befall a run: an event out of nothing, the peer's disconnect or death, a
    /// call that fails, a doorbell, half a list, an event twice. Each of any kind, at any time.
    pub adversities: u8,
    /// Messages from the peer.
    pub messages: u8,
    /// Repeated moves to ERR that are told apart.
    pub kicks: u8,
    /// States at most; a search that reaches it says so.
    pub states: usize,
}

/// Receives posted before the accept.
pub const RECEIVES: usize = 3;

impl Bound {
    /// For `cargo test`.
    pub const SMALL: Self = Self { adversities: 1, messages: 1, kicks: 1, states: 150_000 };

    /// For `make model`.
    pub const FULL: Self = Self { adversities: 2, messages: 1, kicks: 1, states: 4_000_000 };
}
