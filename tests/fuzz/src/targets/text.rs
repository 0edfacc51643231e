//! The configuration: its file, the environment over it, and the names in it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sluice_config::schema::{Backend, Config};
use sluice_config::{Diagnostics, limits, parse, parse_layers};

/// The text of a file.
pub(crate) fn config_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse(&text, "fuzz.toml") {
        Ok(loaded) => judge_config(&loaded.config),
        Err(errors) => judge_errors(&text, &errors),
    }
}

/// Lines of `NAME=VALUE` over a file that is valid.
pub(crate) fn config_environment(bytes: &[u8]) {
    const FILE: &str = include_str!("../../corpus/config_text/minimal");
    let variables = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (line[..at].to_vec(), line[at + 1..].to_vec());
        Some((OsString::from_vec(name), OsString::from_vec(value)))
    });
    match parse_layers(FILE, "fuzz.toml", variables) {
        Ok(loaded) => judge_config(&loaded.config),
        Err(errors) => judge_errors(FILE, &errors),
    }
}

/// What is accepted reads back, and can be exported.
fn judge_config(config: &Config) {
    let text = config.to_toml();
    let again = parse(&text, "again.toml").map(|loaded| loaded.config);
    assert_eq!(again.as_ref(), Ok(config), "{text}");
    let disks = || config.subsystems.iter().flat_map(|subsystem| &subsystem.namespaces);
    if !disks().all(|namespace| matches!(namespace.backend, Backend::Null { .. })) {
        return;
    }
    let built = sluice::export::build(config).expect("a valid configuration can be exported");
    for subsystem in &built.export.subsystems {
        assert!(subsystem.namespaces.is_sorted_by(|a, b| a.nsid < b.nsid), "found by their ids");
        let mdts = subsystem.limits.mdts_bytes;
        assert!(mdts.is_power_of_two() && mdts >= 4096);
        assert!(subsystem.limits.io_queues_max >= 1 && subsystem.limits.mqes >= 1);
        assert!(subsystem.limits.in_capsule_bytes.is_multiple_of(16));
    }
}

/// Errors are bounded, point into the text and show no control characters.
fn judge_errors(text: &str, errors: &Diagnostics) {
    assert!(errors.has_errors());
    assert!(errors.as_slice().len() <= limits::DIAGNOSTICS_MAX);
    let lines = text.split('\n').count();
    for diagnostic in errors.as_slice() {
        if let Some(line) = diagnostic.place.line {
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
    }
    let shown = errors.to_string();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

/// Names, sizes and durations: what the file accepts as an NQN the protocol accepts too.
pub(crate) fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(nqn) = sluice_config::nqn::SubsystemNqn::parse(&text) {
        let on_wire = nvme::SubNqn::new(nqn.as_str()).expect("the protocol accepts it");
        assert_eq!(nvme::SubNqn::parse(&on_wire.emit()), Ok(on_wire));
    }
    if let Ok(nqn) = sluice_config::nqn::HostNqn::parse(&text) {
        let on_wire = nvme::HostNqn::new(nqn.as_str()).expect("the protocol accepts it");
        assert_eq!(nvme::HostNqn::parse(&on_wire.emit()), Ok(on_wire));
    }
    if let Some(field) = bytes.first_chunk::<256>()
        && let Ok(nqn) = nvme::HostNqn::parse(field)
    {
        assert!(nqn.as_str().len() <= nvme::limits::NQN_BYTES_MAX);
        assert_eq!(nvme::HostNqn::parse(&nqn.emit()), Ok(nqn));
    }
    if let Ok(size) = sluice_config::size::SizeBytes::parse(&text) {
        let shown = size.to_string();
        assert_eq!(sluice_config::size::SizeBytes::parse(&shown), Ok(size), "{shown}");
    }
    let _ = sluice_config::duration::parse_duration(&text);
    let _ = sluice_config::names::LogFilter::parse(&text);
    let _ = sluice_config::names::ListenerName::parse(&text);
}
