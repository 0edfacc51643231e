//! Sizes as people write them: a number and a unit, "4 MiB".

use std::fmt;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SizeBytes(pub u64);

/// Units in ascending order: decimal ones are those of disk vendors.
const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

/// Units that [`SizeBytes`] is shown in, largest first.
const SHOWN: [&str; 6] = ["PiB", "TiB", "GiB", "MiB", "KiB", "B"];

impl SizeBytes {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a whole number and a unit with or without space between them.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let show = |bytes| Self(bytes).to_string();
        let (number, unit) = crate::quantity::split(text, "\"4 MiB\"", &UNITS, show)?;
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(unit));
        };
        number.checked_mul(*factor).map(Self).ok_or_else(|| format!("{text:?} is too large"))
    }
}

fn unknown_unit(unit: &str) -> String {
    let near = match unit.to_ascii_lowercase().as_str() {
        "" => return "has no unit: write B, KiB, MiB, GiB or TiB after the number".to_owned(),
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        "p" | "pb" | "pib" => "PiB",
        _ => return format!("has the unknown unit {unit:?}: use B, KiB, MiB, GiB or TiB"),
    };
    format!("has the unknown unit {unit:?}: did you mean {near:?}?")
}

/// The largest binary unit that leaves a whole number; [`SizeBytes::parse`] reads it back.
impl fmt::Display for SizeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = SHOWN
            .iter()
            .filter_map(|shown| UNITS.iter().find(|(name, _)| name == shown))
            .find(|(name, factor)| *name == "B" || (self.0 > 0 && self.0.is_multiple_of(*factor)))
            .copied()
            .unwrap_or(("B", 1));
        write!(f, "{} {name}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_number_times_unit() {
        let cases = [
            ("512 B", 512),
            ("4 KiB", 4096),
            ("4KiB", 4096),
            ("1 MiB", 1 << 20),
            ("10 GiB", 10 << 30),
            ("2 TiB", 2 << 40),
            ("1 PiB", 1 << 50),
            ("1 kB", 1000),
            ("3 MB", 3_000_000),
            ("1_000 B", 1000),
            ("0 B", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(SizeBytes::parse(text), Ok(SizeBytes(bytes)), "{text}");
        }
    }

    #[test]
    fn size_without_known_unit_is_refused_with_advice() {
        let cases = [
            ("4096", "no unit"),
            ("4 mib", "did you mean \"MiB\""),
            ("4 K", "did you mean \"KiB\""),
            ("4 parsec", "unknown unit"),
            ("", "a number"),
            ("MiB", "a number"),
            ("-1 MiB", "a number"),
            ("1.5 GiB", "whole number: write \"1536 MiB\""),
            ("0,5KiB", "whole number: write \"512 B\""),
            ("0.1 GiB", "whole number: use a smaller unit"),
            ("1.5", "whole number: use a smaller unit"),
            ("99999999999999999.9 TiB", "whole number: use a smaller unit"),
            ("1.00000000000000000001 TiB", "whole number: use a smaller unit"),
            ("99999999999999999999 B", "too large"),
            ("16385 PiB", "too large"),
        ];
        for (text, part) in cases {
            let error = SizeBytes::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn shown_size_reads_back() {
        let values = [0, 1, 512, 1000, 4096, 1 << 20, 3 << 30, (1 << 40) + 512, u64::MAX, 1 << 50];
        for value in values {
            let shown = SizeBytes(value).to_string();
            assert_eq!(SizeBytes::parse(&shown), Ok(SizeBytes(value)), "{shown}");
        }
        assert_eq!(SizeBytes(3 << 30).to_string(), "3 GiB");
    }
}
