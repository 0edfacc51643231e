//! The time that is passed in: this crate reads no clock.

use core::time::Duration;

/// A moment: the time since an epoch that the caller chose and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(pub Duration);

impl Now {
    /// The moment `ms` milliseconds later; the largest moment if that can't be said.
    #[must_use]
    pub fn after_ms(self, ms: u32) -> Self {
        Self(self.0.saturating_add(Duration::from_millis(u64::from(ms))))
    }
}
