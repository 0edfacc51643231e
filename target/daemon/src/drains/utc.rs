//! Wall-clock time for people, as logs write it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment: time since 1970, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utc(Duration);

impl Utc {
    /// The wall clock when a monotonic one showed zero that shows `uptime` now.
    pub(crate) fn at_zero_of(uptime: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(now.saturating_sub(uptime))
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// RFC 3339 with milliseconds.
impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let millis = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Years begin in March
/// here, so that the leap day is the last of them, and months of 31 and 30 days follow one rule.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let leap_days = day / 1460 - day / 36_524 + day / (DAYS_OF_400_YEARS - 1);
    let year = (day - leap_days) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_a_calendar_has_them() {
        // From `date --utc -d @SECONDS`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc(Duration::from_secs(seconds)).to_string(), text);
        }
        let late = Utc(Duration::from_millis(1)).plus(Duration::from_millis(41));
        assert_eq!(late.to_string(), "1970-01-01T00:00:00.042Z");
    }

    #[test]
    fn every_day_is_followed_by_the_next() {
        let mut last = date(0);
        for day in 1..200_000 {
            let (year, month, day) = date(day);
            let next = match last {
                (y, m, d) if (year, month) == (y, m) => day == d + 1,
                (y, m, d) if year == y => month == m + 1 && day == 1 && d >= 28,
                (y, m, d) => (year, month, day) == (y + 1, 1, 1) && (m, d) == (12, 31),
            };
            assert!(next, "{last:?} and then {year}-{month}-{day}");
            last = (year, month, day);
        }
    }
}
