//! Where on the paper a moment of a close lies.

use crate::drains::Stay;

/// What lies before the close, broken off, is so wide for each state.
const BEFORE: f64 = 80.0;

/// Room between it and the close.
const GAP: f64 = 14.0;

/// Narrowest state of the close that has a width: the times of both of its ends can be read.
const NARROWEST: f64 = 64.0;

/// States of a path that are drawn: more than there are.
pub(super) const STATES_MAX: usize = 24;

/// A state's place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Its left end.
    pub(super) x: f64,
    /// 0 for a state that took no time.
    pub(super) width: f64,
    /// It lies before the close: its width says nothing.
    pub(super) before: bool,
}

/// The places of a path's states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    /// In the order of the path.
    pub(super) places: Vec<Place>,
    /// Where the close begins.
    pub(super) zero: f64,
    /// Within the close a pixel is the same time everywhere. Otherwise one state would hide the
    /// others, and widths grow with the cube root of the time.
    pub(super) linear: bool,
}

impl Scale {
    /// Fits `path` between `left` and `right`.
    pub(super) fn of(path: &[Stay], left: f64, right: f64) -> Self {
        let before = path.iter().take_while(|stay| stay.entered_us < 0).count();
        let zero = match before {
            0 => left,
            count => (0..count).map(|_| BEFORE).sum::<f64>() + left + GAP,
        };
        let close: Vec<u64> = path[before..].iter().map(|stay| stay.lasted_us).collect();
        let (widths, linear) = widths(&close, right - zero);
        let mut x = left;
        let place = |width: f64, before: bool| {
            let at = x;
            x += width;
            Place { x: at, width, before }
        };
        let mut places: Vec<Place> = std::iter::repeat_n((BEFORE, true), before)
            .chain(widths.into_iter().map(|width| (width, false)))
            .map({
                let mut place = place;
                move |(width, before)| place(width, before)
            })
            .collect();
        for place in places.iter_mut().filter(|place| !place.before) {
            place.x += if before == 0 { 0.0 } else { GAP };
        }
        Self { places, zero, linear }
    }
}

/// Shares `room` among spans of time, and says whether in proportion.
fn widths(spans: &[u64], room: f64) -> (Vec<f64>, bool) {
    let share = |weights: Vec<f64>, narrowest: f64| -> Vec<f64> {
        let used: f64 = weights.iter().filter(|weight| **weight > 0.0).map(|_| narrowest).sum();
        let total: f64 = weights.iter().sum();
        let width = |weight: f64| narrowest + (room - used) * weight / total;
        weights.into_iter().map(|w| if w > 0.0 { width(w) } else { 0.0 }).collect()
    };
    let exact = share(spans.iter().map(|us| *us as f64).collect(), 0.0);
    if exact.iter().all(|width| *width == 0.0 || *width >= NARROWEST) {
        return (exact, true);
    }
    let root = |us: &u64| (*us as f64).cbrt();
    (share(spans.iter().map(root).collect(), NARROWEST), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(spans: &[(i64, u64)]) -> Vec<Stay> {
        let stay = |(entered_us, lasted_us): &(i64, u64)| Stay {
            state: String::new(),
            entered_us: *entered_us,
            lasted_us: *lasted_us,
        };
        spans.iter().map(stay).collect()
    }

    #[test]
    fn times_of_one_size_are_drawn_in_proportion() {
        let scale = Scale::of(&path(&[(0, 100), (100, 300), (400, 0)]), 0.0, 800.0);
        assert!(scale.linear);
        let widths: Vec<f64> = scale.places.iter().map(|place| place.width).collect();
        assert_eq!(widths, [200.0, 600.0, 0.0]);
        assert_eq!(scale.places[2].x, 800.0);
    }

    #[test]
    fn a_state_that_dominates_hides_no_other() {
        let path = path(&[(0, 12), (12, 50_000_000), (50_000_012, 90), (50_000_102, 0)]);
        let scale = Scale::of(&path, 0.0, 800.0);
        assert!(!scale.linear);
        let [first, long, last, end] = scale.places[..] else { panic!("{scale:?}") };
        assert!(first.width >= NARROWEST && last.width > first.width && long.width > last.width);
        assert!((end.x - 800.0).abs() < 0.01 && end.width == 0.0, "{end:?}");
    }

    #[test]
    fn places_follow_each_other_and_end_at_the_right() {
        let path = path(&[(-900, 400), (-500, 500), (0, 7), (7, 0), (7, u64::MAX), (9, 0)]);
        let scale = Scale::of(&path, 100.0, 960.0);
        assert_eq!(scale.places.iter().filter(|place| place.before).count(), 2);
        assert_eq!((scale.places[0].x, scale.places[2].x), (100.0, scale.zero));
        for pair in scale.places[2..].windows(2) {
            assert!((pair[0].x + pair[0].width - pair[1].x).abs() < 0.01, "{scale:?}");
        }
        assert!((scale.places[5].x - 960.0).abs() < 0.01, "{scale:?}");
    }

    #[test]
    fn a_path_of_nothing_or_of_no_time_has_places_all_the_same() {
        assert!(Scale::of(&[], 0.0, 100.0).places.is_empty());
        let scale = Scale::of(&path(&[(0, 0), (0, 0)]), 0.0, 100.0);
        assert!(scale.places.iter().all(|place| place.x == 0.0 && place.width == 0.0));
        let all = path(&[(0, 5); STATES_MAX]);
        assert!(Scale::of(&all, 0.0, 800.0).places.iter().all(|place| place.x.is_finite()));
    }
}
