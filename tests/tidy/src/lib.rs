//! What stays true of the tree itself, checked by tests: see `tests/` of this crate.
