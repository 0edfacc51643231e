//! The sample configurations of `deploy/` are read without an error or a warning.

use sluice_config::parse;
use sluice_config::schema::{AllowedHosts, Backend, Placement};

const FULL: &str = include_str!("../../deploy/sluice.toml");
const RAM: &str = include_str!("../../deploy/samples/ram-quickstart.toml");
const TWO: &str = include_str!("../../deploy/samples/two-subsystems.toml");
const DEVICE: &str = include_str!("../../deploy/samples/block-device.toml");

fn read(text: &str) -> sluice_config::Config {
    let loaded = parse(text, "sample.toml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    loaded.config
}

#[test]
fn samples_are_read_without_error_or_warning() {
    assert_eq!(read(FULL).subsystems.len(), 1);
    assert!(matches!(read(RAM).subsystems[0].hosts, AllowedHosts::Any));
    let two = read(TWO);
    assert_eq!(two.subsystems[0].listeners.len(), 2);
    assert_eq!(two.subsystems[1].listeners.len(), 1);
    let device = read(DEVICE);
    assert_eq!(device.reactors.placement, Placement::Cores(vec![2, 3]));
    assert!(matches!(device.subsystems[0].namespaces[1].backend, Backend::Device { .. }));
}

/// The key in a comment, switched on.
fn key(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix("# ")?;
    let (key, value) = rest.split_once(" = ")?;
    let bare = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (bare && !value.ends_with(',')).then(|| rest.to_owned())
}

/// The full sample with every commented key switched on.
fn switched_on() -> String {
    let exclusive = ["allow_any_host", "cores"];
    FULL.lines()
        .map(|line| match key(line) {
            Some(on) if !exclusive.iter().any(|name| on.starts_with(name)) => on + "\n",
            Some(_) | None => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn commented_values_of_the_full_sample_are_the_defaults() {
    let mut on = read(&switched_on());
    let off = read(FULL);
    // These four are examples: there is no fixed default for an identity.
    on.subsystems[0].serial = off.subsystems[0].serial.clone();
    let (on_namespace, off_namespace) =
        (&mut on.subsystems[0].namespaces[0], &off.subsystems[0].namespaces[0]);
    assert!(on_namespace.nguid.take().is_some() && on_namespace.eui64.take().is_some());
    assert_ne!(on_namespace.uuid, off_namespace.uuid);
    on_namespace.uuid = off_namespace.uuid;
    // And this one is 512 for a file when it is not said.
    assert_eq!(on_namespace.block_size.take().map(|size| size.bytes()), Some(512));
    assert_eq!(on, off);
}

#[test]
fn full_sample_names_every_key() {
    let on = switched_on();
    let full = read(&on).to_toml();
    for line in full.lines().filter_map(|line| line.split_once(" = ")) {
        let named = on.lines().chain(FULL.lines());
        let key = line.0;
        assert!(
            named.map(str::trim_start).any(|line| line.trim_start_matches("# ").starts_with(key)),
            "{key} is not in the full sample"
        );
    }
}

#[test]
fn every_commented_key_that_is_no_default_is_marked_as_an_example() {
    let off = read(FULL);
    let lines: Vec<&str> = FULL.lines().collect();
    let mut examples = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some(on) = key(line) else { continue };
        let mut changed = lines.clone();
        changed[index] = &on;
        let read = parse(&changed.join("\n"), "sample.toml");
        if read.map_or(true, |loaded| loaded.config != off) {
            examples += 1;
            assert!(on.ends_with(" # example"), "{line}");
        }
    }
    assert!(examples > 0);
}
