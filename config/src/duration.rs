//! Times as people write them: a number and a unit, "50 us".

use std::time::Duration;

/// Units in ascending order, with their nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The units, for people.
pub(crate) const UNITS_HELP: &str = "units are us, ms, s, min, h and d (a day)";

/// Reads a whole number and a unit with or without space between them.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let show = |nanos| show_duration(Duration::from_nanos(nanos));
    let (number, unit) = crate::quantity::split(text, "\"50 us\" or \"5 s\"", &UNITS, show)?;
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(unit));
    };
    let nanos = number.checked_mul(*factor).ok_or_else(|| "is too large".to_owned())?;
    Ok(Duration::from_nanos(nanos))
}

/// The largest unit that leaves a whole number; [`parse_duration`] reads it back.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (name, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| nanos > 0 && nanos.is_multiple_of(u128::from(*factor)))
        .copied()
        .unwrap_or(("s", 1_000_000_000));
    format!("{} {name}", nanos / u128::from(factor))
}

fn unknown_unit(unit: &str) -> String {
    let near = match unit.to_ascii_lowercase().as_str() {
        "" => return "has no unit: write us, ms, s, min, h or d after the number".to_owned(),
        "\u{b5}s" | "\u{3bc}s" | "usec" | "micros" | "us" => "us",
        "msec" | "millis" | "ms" => "ms",
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "m" | "mins" | "minute" | "minutes" | "min" => "min",
        "hour" | "hours" | "hr" | "h" => "h",
        "day" | "days" | "d" => "d",
        _ => return format!("has the unknown unit {unit:?}: use us, ms, s, min, h or d"),
    };
    format!("has the unknown unit {unit:?}: did you mean {near:?}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_number_times_unit() {
        let cases = [
            ("50 us", Duration::from_micros(50)),
            ("5s", Duration::from_secs(5)),
            ("250 ms", Duration::from_millis(250)),
            ("2 min", Duration::from_secs(120)),
            ("1 h", Duration::from_secs(3600)),
            ("0 s", Duration::ZERO),
        ];
        for (text, duration) in cases {
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration), "{text}");
        }
        assert_eq!(show_duration(Duration::from_micros(1500)), "1500 us");
    }

    #[test]
    fn duration_without_known_unit_is_refused_with_advice() {
        let cases = [
            ("5", "no unit"),
            ("5 sec", "did you mean \"s\""),
            ("5 m", "did you mean \"min\""),
            ("5 \u{b5}s", "did you mean \"us\""),
            ("5 moons", "unknown unit"),
            ("0.5 s", "whole number: write \"500 ms\""),
            ("1.5 h", "whole number: write \"90 min\""),
            ("0.5 ns", "whole number: use a smaller unit"),
            ("5 week", "ms, s, min, h or d"),
            ("soon", "a number"),
            ("99999999999 d", "too large"),
        ];
        for (text, part) in cases {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
