//! Whatever a file holds, reading it ends soon, without a panic, and in bounded memory.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::ffi::OsString;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluice_config::{Diagnostics, limits, parse, parse_layers};

/// Words that get past the grammar and into the checks behind it.
const WORDS: &[&str] = &[
    "[log]",
    "[limits]",
    "[reactors]",
    "[rdma]",
    "[[listener]]",
    "[[subsystem]]",
    "[[subsystem.namespace]]",
    "[subsystem]",
    "[[log]]",
    "\n",
    "\n",
    "\n",
    "=",
    "=",
    ",",
    "[",
    "]",
    "{",
    "}",
    ".",
    "#",
    "name",
    "address",
    "port",
    "nqn",
    "hosts",
    "listeners",
    "nsid",
    "file",
    "device",
    "ram",
    "null",
    "size",
    "uuid",
    "nguid",
    "eui64",
    "level",
    "format",
    "cores",
    "count",
    "spin",
    "pool",
    "transfer",
    "queues",
    "\"a\"",
    "\"0.0.0.0\"",
    "\"::\"",
    "\"1 GiB\"",
    "\"4 KiB\"",
    "\"5 s\"",
    "\"nqn.2026-01.org.example:x\"",
    "\"/a\"",
    "0",
    "1",
    "-1",
    "4420",
    "99999999999999999999",
    "1.5",
    "true",
    "false",
    "1979-05-27",
    "\"\u{e9}\u{202e}\"",
    "\"\\u0000\"",
    "\"info\"",
    "'",
    "\"",
    "\"\"\"",
    "\t",
    "\r\n",
    "0x",
    "_",
    "allow_any_host",
];

fn places_are_in_the_text(text: &str, errors: &Diagnostics) {
    assert!(errors.has_errors());
    assert!(errors.as_slice().len() <= limits::DIAGNOSTICS_MAX);
    let lines = text.split('\n').count();
    for diagnostic in errors.as_slice() {
        if let Some(line) = diagnostic.place.line {
            assert!((1..=lines).contains(&line), "{diagnostic}");
        }
        if let Some(excerpt) = &diagnostic.place.excerpt {
            assert!(excerpt.width >= 1);
            assert!(excerpt.indent + excerpt.width <= limits::EXCERPT_CHARS_MAX + 1);
        }
    }
    let shown = errors.to_string();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(errors) = parse(&text, "t.toml") {
            places_are_in_the_text(&text, &errors);
        }
    }

    #[test]
    fn any_words_are_read_without_panic(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..80),
    ) {
        let text = words.join(" ").replace(" \n ", "\n");
        if let Err(errors) = parse(&text, "t.toml") {
            places_are_in_the_text(&text, &errors);
        }
    }

    #[test]
    fn any_assignments_are_read_without_panic(
        lines in proptest::collection::vec(
            (proptest::sample::select(WORDS), proptest::sample::select(WORDS), any::<bool>()),
            0..40,
        ),
    ) {
        let line = |(key, value, header): &(&str, &str, bool)| {
            if *header { format!("{key}\n") } else { format!("{key} = {value}\n") }
        };
        let text: String = lines.iter().map(line).collect();
        if let Err(errors) = parse(&text, "t.toml") {
            places_are_in_the_text(&text, &errors);
        }
    }

    #[test]
    fn any_environment_is_read_without_panic(
        variables in proptest::collection::vec(("(SLUICE__)?[A-Za-z_.0-9]{0,20}", ".{0,20}"), 0..6),
    ) {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let variables: Vec<(OsString, OsString)> = variables.collect();
        let text = "[log]\nlevel = \"info\"\n";
        prop_assert!(parse_layers(text, "t.toml", variables).is_err(), "there is no listener");
    }
}

/// Reads `text` and says what was wrong; it must take less than a bound that a busy machine keeps.
fn soon(text: &str) -> Diagnostics {
    let start = Instant::now();
    let errors = parse(text, "t.toml").expect_err("a hostile text is no configuration");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(60), "{} bytes took {took:?}", text.len());
    places_are_in_the_text(text, &errors);
    errors
}

fn fill(unit: &str) -> String {
    unit.repeat(usize::try_from(limits::FILE_BYTES_MAX).unwrap() / unit.len())
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    let depth = 100_000;
    for (open, close) in [("[", "]"), ("{a=", "}"), ("[\n", "\n]")] {
        let text = format!("a = {}1{}\n", open.repeat(depth), close.repeat(depth));
        soon(&text);
    }
    soon(&format!("{}a = 1\n", "a.".repeat(7_000)));
    soon(&format!("[{}a]\n", "a.".repeat(7_000)));
    soon(&format!("[[{}a]]\n", "a.".repeat(7_000)));
    // Every kind of nesting that is bounded on its own, within each other.
    for keys in [10, 20, 40, 78] {
        for levels in [10, 20, 40, 78] {
            let open = format!("{{ {}a = ", "a.".repeat(keys));
            let text = format!(
                "[{0}a]\n{0}a = {1}1{2}\n",
                "a.".repeat(keys),
                open.repeat(levels),
                "}".repeat(levels)
            );
            soon(&text);
        }
    }
}

#[test]
fn largest_files_are_read_soon() {
    let keys: String = (0..60_000).map(|index| format!("key_{index} = 1\n")).collect();
    let errors = soon(&keys);
    assert_eq!(errors.as_slice().len(), limits::DIAGNOSTICS_MAX);
    assert!(errors.omitted() > 59_000);
    assert!(errors.as_slice().iter().all(|kept| kept.place.line <= Some(100)), "the first ones");
    assert!(errors.to_string().contains("more not shown"));
    soon(&fill("[[listener]]\n"));
    soon(&fill("[[subsystem]]\n"));
    soon(&fill("[[subsystem]]\n[[subsystem.namespace]]\n"));
    soon(&fill("= \n"));
    soon(&fill("\""));
    soon(&fill("[["));
    let line = "{nsid=1,ram=\"1 MiB\"},".repeat(limits::LINE_BYTES_MAX / 22);
    let line = format!("{}\n", line);
    soon(&format!("[[subsystem]]\nnamespace = [\n{}]\n", line.repeat(60)));
}

#[test]
fn too_large_text_and_too_long_lines_are_refused() {
    let large = fill("# comment\n") + "# and one more\n# and one more\n";
    assert!(soon(&large).to_string().contains("larger than 1048576 bytes"));
    let long = format!("# fine\n# {}\n", "x".repeat(limits::LINE_BYTES_MAX));
    let errors = soon(&long);
    assert_eq!(errors.as_slice()[0].place.line, Some(2));
}

#[test]
fn warnings_never_hide_an_error() {
    let warnings = "[[subsystem]]\nnqn = \"nqn.2026-01.org.example:{}\"\n";
    let many: String = (0..80).map(|index| warnings.replace("{}", &index.to_string())).collect();
    let listener = "[[listener]]\nname = \"a\"\naddress = \"::1\"\n";
    let fine = parse(&format!("{listener}{many}"), "t.toml").expect("only warnings");
    assert_eq!(fine.warnings.len(), limits::DIAGNOSTICS_MAX);
    let errors = soon(&format!("{listener}{many}prot = 1\n"));
    assert!(errors.as_slice().iter().any(|diagnostic| diagnostic.place.key.ends_with("prot")));
}
