//! Every way in which a text can be wrong: where the error points, what it says, what it advises.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use sluice_config::{Diagnostic, Severity, parse};

/// A listener and a subsystem that are right: what a case has wrong stands above them.
const REST: &str = r#"
[[listener]]
name = "fabric-a"
address = "192.0.2.10"
[[subsystem]]
nqn = "nqn.2026-01.org.example:rest"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "1 GiB"
"#;

const LISTENER: &str = "[[listener]]\nname = \"fabric-a\"\naddress = \"192.0.2.10\"\n";
const SUBSYSTEM: &str =
    "[[subsystem]]\nnqn = \"nqn.2026-01.org.example:a\"\nallow_any_host = true\n";

fn found(text: &str) -> Vec<Diagnostic> {
    match parse(text, "t.toml") {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.into_vec(),
    }
}

/// `severity line:column key`, as one string to compare.
fn place(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let at = &diagnostic.place;
    let position = match (at.line, at.column) {
        (Some(line), Some(column)) => format!("{line}:{column}"),
        _ => "-".to_owned(),
    };
    format!("{severity} {position} {}", at.key).trim_end().to_owned()
}

/// Checks that `text` has exactly this one thing wrong.
#[track_caller]
fn one(text: &str, at: &str, message: &str, help: &str) {
    let found = found(text);
    assert_eq!(found.iter().map(place).collect::<Vec<_>>(), [at], "{text}\n{found:#?}");
    let got = &found[0];
    assert!(got.message.contains(message), "{text}\n{got}");
    assert!(got.help.as_deref().unwrap_or_default().contains(help), "{text}\n{got}");
}

/// The same for a text that stands above a valid rest.
#[track_caller]
fn above(text: &str, at: &str, message: &str, help: &str) {
    one(&format!("{text}\n{REST}"), at, message, help);
}

/// The same for keys of a second namespace of a valid subsystem; line 8 is the first of `text`.
#[track_caller]
fn namespace(text: &str, at: &str, message: &str, help: &str) {
    let text = format!("{LISTENER}{SUBSYSTEM}[[subsystem.namespace]]\n{text}\n");
    one(&text, at, message, help);
}

#[test]
fn base_of_the_cases_is_valid() {
    assert_eq!(found(REST), []);
}

#[test]
fn text_that_is_no_toml_points_at_the_spot() {
    one("a = \n", "error 1:5", "not valid TOML", "");
    one("[log\nlevel = \"info\"\n", "error 1:5", "not valid TOML", "");
    for bare in ["info", "on", "True", "10 GiB", "/srv/x", "nqn.2026-01.org.example:x"] {
        above(&format!("[log]\nlevel = {bare}"), "error 2:9", "not valid TOML", "double quotes");
    }
    above("[log]\nlevel = 192.0.2.10", "error 2:14", "not in quotes", "double quotes");
    above("[log]\nlevel = \"info", "error 2:14", "string", "quote that ends the text");
    above("[log]\nlevel = \"info\"\nlevel = \"warn\"", "error 3:1", "duplicate", "once");
    above("[log]\n[log]", "error 2:2", "duplicate", "once");
    let two = found("a = \n[log\n");
    assert_eq!(two.len(), 2, "both errors of the grammar are reported: {two:#?}");
}

#[test]
fn empty_text_is_refused() {
    for text in ["", "  \n\t\n"] {
        one(text, "error -", "empty", "[[listener]]");
    }
    let comments = found("# nothing\n");
    assert_eq!(comments.iter().map(place).collect::<Vec<_>>(), ["error -", "warning -"]);
}

/// The same for keys of a host whose NQN is the subsystem's; line 3 is the first of `text`.
#[track_caller]
fn host(text: &str, at: &str, message: &str, help: &str) {
    let nqn = "nqn = \"nqn.2026-01.org.example:h\"";
    let rest = REST.replace("allow_any_host = true", "hosts = [\"nqn.2026-01.org.example:h\"]");
    one(&format!("[[host]]\n{nqn}\n{text}\n{rest}"), at, message, help);
}

#[test]
fn hosts_have_one_key_in_one_place_and_known_algorithms() {
    let key = "key_file = \"/k\"";
    host("", "error 1:1 host[0]", "has no key", "sluice keys gen");
    host("key_file = \"k\"", "error 3:12 host[0].key_file", "begin with \"/\"", "");
    let both = format!("{key}\nkey_credential = \"a\"");
    host(&both, "error 3:12 host[0].key_file", "exclude each other", "");
    host("key_credential = \"a/b\"", "error 3:18 host[0].key_credential", "file name", "");
    let with = |more: &str| format!("{key}\n{more}");
    host(&with("secret = \"x\""), "error 4:1 host[0].secret", "unknown key", "known here");
    let at = "error 4:11 host[0].hashes[0]";
    host(&with("hashes = [\"sha25\"]"), at, "expected", "did you mean \"sha256\"?");
    host(&with("hashes = []"), "error 4:10 host[0].hashes", "at least one", "leave");
    let twice = with("dh_groups = [\"null\", \"null\"]");
    host(&twice, "error 4:22 host[0].dh_groups[1]", "named twice", "");
}

#[test]
fn keys_that_protect_nothing_are_pointed_at() {
    let text = "[[host]]\nnqn = \"nqn.2026-01.org.example:h\"\nkey_file = \"/k\"";
    above(text, "warning 9:7 subsystem[0].nqn", "without a key in", "list the hosts");
    let other = REST.replace("allow_any_host = true", "hosts = [\"nqn.2026-01.org.example:o\"]");
    let text = format!("{text}\n{other}");
    one(&text, "warning 2:7 host[0].nqn", "its key is not used", "add its NQN");
}

#[test]
fn unknown_keys_are_errors_with_the_nearest_key() {
    above("state_dri = \"/x\"", "error 1:1 state_dri", "unknown key", "\"state_dir\"?");
    above("[lgo]\nlevel = \"info\"", "error 1:2 lgo", "unknown key", "\"log\"?");
    above("[log]\nlevle = \"info\"", "error 2:1 log.levle", "unknown key", "\"level\"?");
    above("[limits]\nqueue-depth = 128", "error 2:1 limits.queue-depth", "", "\"queue_depth\"?");
    above("[rdma]\nqueues = 5", "error 2:1 rdma.queues", "unknown key", "belongs in [limits]");
    above("[log]\nstate_dir = \"/x\"", "error 2:1 log.state_dir", "unknown", "top of the file");
    above("[log]\n\"a b\" = 1", "error 2:1 log.\"a b\"", "unknown key", "known here: level");
    above("log.levle = \"info\"", "error 1:5 log.levle", "unknown key", "\"level\"?");
    let listener = format!("{REST}[[listener]]\nname = \"b\"\naddress = \"::1\"\nprot = 1\n");
    one(&listener, "error 14:1 listener[1].prot", "unknown key", "\"port\"?");
    let at = "error 10:1 subsystem[0].namespace[0].blok_size";
    namespace("nsid = 1\nram = \"1 GiB\"\nblok_size = 512", at, "unknown key", "\"block_size\"?");
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    above("state_dir = 5", "error 1:13 state_dir", "absolute path, found the integer 5", "quotes");
    above("log = 5", "error 1:7 log", "expected a section, found the integer 5", "[log]");
    above("[[log]]\nlevel = \"info\"", "error 1:1 log", "section, found an array", "[log]");
    above("[log]\nformat = true", "error 2:10 log.format", "\"text\" or \"json\"", "");
    above("[log]\nformat = \"jsno\"", "error 2:10 log.format", "\"jsno\"", "\"json\"?");
    let modes = "expected \"auto\", \"on\" or \"off\", found the boolean true";
    above("[rdma]\nmode = true", "error 2:8 rdma.mode", modes, "write \"on\"");
    above("[rdma]\nmode = 1979-05-27", "error 2:8 rdma.mode", "the date or time 1979-05-27", "");
    above(
        "[limits]\nhosts = \"7\"",
        "error 2:9 limits.hosts",
        "the string \"7\"",
        "without quotes",
    );
    above("[limits]\nhosts = [7]", "error 2:9 limits.hosts", "found an array", "");
    above("[reactors]\ncores = \"2\"", "error 2:9 reactors.cores", "found the string", "[\"2\"]");
    above("[reactors]\ncores = 2", "error 2:9 reactors.cores", "found the integer 2", "brackets");
    above("[reactors]\ncores = [\"2\"]", "error 2:10 reactors.cores[0]", "\"2\"", "without quotes");
    let single = "[listener]\nname = \"a\"\naddress = \"::1\"\n[[subsystem]]\n";
    let single = format!("{single}{}", &SUBSYSTEM[14..]);
    let places: Vec<_> = found(&single).iter().map(place).collect();
    assert_eq!(places[0], "error 1:1 listener");
    assert!(found(&single)[0].help.as_deref().unwrap().contains("[[listener]]"));
    let at = "error 9:8 subsystem[0].namespace[0].nsid";
    namespace("ram = \"1 GiB\"\nnsid = \"1\"", at, "found the string \"1\"", "without quotes");
    let at = "error 10:13 subsystem[0].namespace[0].read_only";
    namespace("nsid = 1\nram = \"1 GiB\"\nread_only = \"yes\"", at, "true or false", "quotes");
}

#[test]
fn numbers_are_whole_and_within_bounds() {
    let key = "error 2:15 limits.queue_depth";
    for bad in ["0", "15", "1025", "-1", "2.7", "1e3", "nan", "99999999999999999999999", "true"] {
        above(&format!("[limits]\nqueue_depth = {bad}"), key, "whole number from 16 to 1024", "");
    }
    let huge = "9".repeat(50);
    above(&format!("[limits]\nqueue_depth = {huge}"), key, "99999", "");
    for good in ["16", "1024", "0x40", "1_000"] {
        assert_eq!(found(&format!("[limits]\nqueue_depth = {good}\n{REST}")), [], "{good}");
    }
    for limit in ["hosts", "controllers", "queues", "io_queues", "closing"] {
        let column = limit.len() + 4;
        for bad in ["0", "4294967296", "18446744073709551616"] {
            let at = format!("error 2:{column} limits.{limit}");
            above(&format!("[limits]\n{limit} = {bad}"), &at, "expected a whole number", "");
        }
    }
    above("[reactors]\ncount = 0", "error 2:9 reactors.count", "from 1 to 256", "");
    above("[reactors]\ncores = [1024]", "error 2:10 reactors.cores[0]", "from 0 to 1023", "");
    above("[reactors]\ncores = [2, 2]", "error 2:13 reactors.cores[1]", "twice", "");
    above("[reactors]\ncores = []", "error 2:9 reactors.cores", "at least one", "leave");
    above("[reactors]\ncores = [1]\ncount = 1", "error 3:9 reactors.count", "exclude", "keep");
}

#[test]
fn sizes_and_times_carry_units_and_have_bounds() {
    let at = "error 2:8 limits.pool";
    above("[limits]\npool = 268435456", at, "integer 268435456", "write \"256 MiB\"");
    above("[limits]\npool = 1", at, "integer 1", "carry a unit");
    above("[limits]\npool = \"1 KiB\"", at, "from \"4 MiB\" to \"64 GiB\"", "");
    above("[limits]\npool = \"1 PiB\"", at, "from \"4 MiB\" to \"64 GiB\"", "");
    above("[limits]\npool = \"99999999 PiB\"", at, "too large", "");
    above("[limits]\npool = \"256 mib\"", at, "did you mean \"MiB\"?", "");
    let at = "error 2:12 limits.transfer";
    above("[limits]\ntransfer = \"3 MiB\"", at, "power of two", "\"4 MiB\"");
    above("[limits]\ntransfer = \"8 MiB\"", at, "to \"4 MiB\"", "");
    above("[limits]\ntransfer = \"2 KiB\"", at, "from \"4 KiB\"", "");
    let at = "error 2:14 limits.in_capsule";
    above("[limits]\nin_capsule = \"5 KiB\"", at, "multiple", "\"8 KiB\"");
    above("[limits]\nin_capsule = \"20 KiB\"", at, "to \"16 KiB\"", "");
    above("[reactors]\nspin = 50", "error 2:8 reactors.spin", "integer 50", "carry a unit");
    above("[reactors]\nspin = \"1 s\"", "error 2:8 reactors.spin", "to \"10 ms\"", "");
    above("[reactors]\nspin = \"50 \u{b5}s\"", "error 2:8 reactors.spin", "mean \"us\"?", "");
    above("[limits]\nhandshake = \"0.5 s\"", "error 2:13 limits.handshake", "\"500 ms\"", "");
    let at = "error 2:18 limits.keep_alive_max";
    above("[limits]\nkeep_alive_max = \"2 d\"", at, "to \"1 d\"", "d (a day)");
    above("[log]\nlevel = \"loud\"", "error 2:9 log.level", "", "off, error, warn, info, debug");
    above("[limits]\nhandshake = \"0 s\"", "error 2:13 limits.handshake", "from \"100 ms\"", "");
}

#[test]
fn limits_that_contradict_each_other_are_errors() {
    above("[limits]\nqueues = 8", "error 2:10 limits.queues", "8 I/O queues", "raise");
    above(
        "[limits]\npool = \"4 MiB\"\ntransfer = \"2 MiB\"",
        "error 2:8 limits.pool",
        "4 of",
        "8 MiB",
    );
    assert_eq!(found(&format!("[limits]\nqueues = 9\n{REST}")), []);
    assert_eq!(found(&format!("[limits]\npool = \"4 MiB\"\n{REST}")), []);
}

#[test]
fn paths_are_absolute_and_fit() {
    above("state_dir = \"x\"", "error 1:13 state_dir", "does not begin with \"/\"", "");
    above("state_dir = \"\"", "error 1:13 state_dir", "does not begin with \"/\"", "");
    above("state_dir = \"/a\\u0000b\"", "error 1:13 state_dir", "NUL", "");
    let socket = format!("control_socket = \"/{}\"", "x".repeat(107));
    above(&socket, "error 1:18 control_socket", "108 bytes", "");
    let socket = format!("control_socket = \"/{}\"\n{REST}", "x".repeat(106));
    assert_eq!(found(&socket), []);
}

#[test]
fn log_levels_are_checked() {
    let at = "error 2:9 log.level";
    above("[log]\nlevel = \"debgu\"", at, "did you mean \"debug\"?", "");
    above("[log]\nlevel = \"nvme=verbose\"", at, "unknown level \"verbose\"", "");
    assert_eq!(found(&format!("[log]\nlevel = \"warn,nvme::queue=trace\"\n{REST}")), []);
}

#[test]
fn nqns_follow_the_standard() {
    let cases = [
        ("disk1", "does not begin with"),
        ("nqn.2026-13.org.example:x", "month 13"),
        ("nqn.2014-08.org.nvmexpress.discovery", "discovery subsystem"),
        ("nqn.2014-08.org.nvmexpress:uuid:123", "no valid UUID"),
    ];
    for (nqn, message) in cases {
        let body = "allow_any_host = true\n[[subsystem.namespace]]\nnsid = 1\nram = \"1 GiB\"\n";
        let text = format!("{LISTENER}[[subsystem]]\nnqn = \"{nqn}\"\n{body}");
        one(&text, "error 5:7 subsystem[0].nqn", message, "looks like");
        let text = REST.replace("allow_any_host = true", &format!("hosts = [\n  \"{nqn}\"]"));
        one(&text, "error 8:3 subsystem[0].hosts[0]", message, "/etc/nvme/hostnqn");
    }
    let long = format!("nqn.2026-01.org.example:{}", "x".repeat(200));
    let text = REST.replace("nqn.2026-01.org.example:rest", &long);
    one(&text, "error 6:7 subsystem[0].nqn", "224 bytes long", "");
    let none = REST.replace("nqn = \"nqn.2026-01.org.example:rest\"\n", "");
    one(&none, "error 5:1 subsystem[0]", "the key \"nqn\" is missing", "looks like");
}

#[test]
fn what_must_be_unique_is_pointed_at_with_the_first_use() {
    let again = format!("{REST}{SUBSYSTEM}[[subsystem.namespace]]\nnsid = 1\nram = \"1 GiB\"\n");
    let nqn = again.replace("example:a\"", "example:rest\"");
    one(&nqn, "error 12:7 subsystem[1].nqn", "example:rest is used twice", "at t.toml:6:7");
    let nsid = format!("{REST}[[subsystem.namespace]]\nnsid = 1\nnull = \"1 GiB\"\n");
    let at = "error 12:8 subsystem[0].namespace[1].nsid";
    one(&nsid, at, "NSID 1 is used twice", "t.toml:9:8");
    let name = format!("{REST}[[listener]]\nname = \"fabric-a\"\naddress = \"::1\"\n");
    one(&name, "error 12:8 listener[1].name", "\"fabric-a\" is used twice", "t.toml:3:8");
    for (key, value, other) in [
        ("uuid", "a7f0b1a2-5d0c-4c5e-9a37-0f6f6e0c7d11", "A7F0B1A25D0C4C5E9A370F6F6E0C7D11"),
        ("nguid", "a7f0b1a25d0c4c5e9a370f6f6e0c7d11", "A7F0B1A25D0C4C5E-9A370F6F6E0C7D11"),
        ("eui64", "a7f0b1a25d0c4c5e", "A7:F0:B1:A2:5D:0C:4C:5E"),
    ] {
        let text =
            format!("{REST}{key} = \"{value}\"\n{}{key} = \"{other}\"\n", &again[REST.len()..]);
        let column = key.len() + 4;
        let at = format!("error 18:{column} subsystem[1].namespace[0].{key}");
        one(&text, &at, "is used twice", "the first is subsystem[0].namespace[0]");
    }
    assert_eq!(found(&again), [], "an NSID may repeat in another subsystem");
}

#[test]
fn uuid_that_another_namespace_derives_is_a_duplicate() {
    let derived = parse(REST, "t.toml").unwrap().config.subsystems[0].namespaces[0].uuid;
    let second =
        format!("[[subsystem.namespace]]\nnsid = 2\nnull = \"1 GiB\"\nuuid = \"{derived}\"\n");
    let at = "error 14:8 subsystem[0].namespace[1].uuid";
    one(&format!("{REST}{second}"), at, "is used twice", "namespace[0].nsid");
}

#[test]
fn identifiers_have_their_length_and_are_not_zero() {
    let with = |key: &str, value: &str| {
        (format!("nsid = 1\nram = \"1 GiB\"\n{key} = \"{value}\""), key.len() + 4)
    };
    for (key, value, message) in [
        ("uuid", "123", "is none"),
        ("uuid", "{a7f0b1a2-5d0c-4c5e-9a37-0f6f6e0c7d11}", "is none"),
        ("uuid", "00000000-0000-0000-0000-000000000000", "all zero"),
        ("nguid", "a7f0b1a25d0c4c5e9a370f6f6e0c7d", "has 30 digits"),
        ("nguid", "zz", "holds 'z'"),
        ("eui64", "0000000000000000", "all zero"),
        ("eui64", "a7f0b1a25d0c4c5e00", "has 18 digits"),
    ] {
        let (text, column) = with(key, value);
        let at = format!("error 10:{column} subsystem[0].namespace[0].{key}");
        namespace(&text, &at, message, "");
    }
    for (key, value) in [("serial", "S".repeat(21)), ("model", "\u{e9}".to_owned())] {
        let text = REST.replace("allow_any", &format!("{key} = \"{value}\"\nallow_any"));
        let at = format!("error 7:{} subsystem[0].{key}", key.len() + 4);
        one(&text, &at, "expected a", "");
    }
}

#[test]
fn reserved_nsids_are_refused() {
    for nsid in ["0", "0xFFFFFFFE", "0xFFFFFFFF", "4294967296", "-1"] {
        let at = "error 8:8 subsystem[0].namespace[0].nsid";
        namespace(&format!("nsid = {nsid}\nram = \"1 GiB\""), at, "from 1 to 4294967293", "");
    }
    let at = "error 7:1 subsystem[0].namespace[0]";
    namespace("ram = \"1 GiB\"", at, "the key \"nsid\" is missing", "nsid = 1");
}

#[test]
fn namespace_has_exactly_one_backend() {
    let at = "error 7:1 subsystem[0].namespace[0]";
    namespace("nsid = 1", at, "where the blocks are", "exactly one");
    let both = "nsid = 1\nram = \"1 GiB\"\nfile = \"/a\"";
    namespace(both, at, "file and ram exclude each other", "exactly one");
    let size = "nsid = 1\nsize = \"1 GiB\"\n";
    let at = "error 9:8 subsystem[0].namespace[0].size";
    namespace(&format!("{size}ram = \"1 GiB\""), at, "does not go with \"ram\"", "remove");
    namespace(&format!("{size}device = \"/dev/x\""), at, "does not go with \"device\"", "remove");
}

#[test]
fn disks_have_whole_blocks_and_a_sane_size() {
    let ram = |value: &str| format!("nsid = 1\nram = {value}");
    let at = "error 9:7 subsystem[0].namespace[0].ram";
    namespace(&ram("1073741824"), at, "integer 1073741824", "\"1 GiB\"");
    namespace(&ram("\"0 B\""), at, "from \"1 MiB\"", "");
    namespace(&ram("\"1 KiB\""), at, "from \"1 MiB\"", "");
    namespace(&ram("\"17 TiB\""), at, "to \"16 TiB\"", "");
    namespace(&ram("\"1048577 B\""), at, "multiple of the block size, 512", "1 MiB");
    let file = "nsid = 1\nfile = \"/a\"\nsize = \"1049088 B\"\nblock_size = 4096";
    let at = "error 10:8 subsystem[0].namespace[0].size";
    namespace(file, at, "multiple of the block size, 4096", "1 MiB");
    let block = |value: &str| format!("nsid = 1\nram = \"1 GiB\"\nblock_size = {value}");
    let at = "error 10:14 subsystem[0].namespace[0].block_size";
    for bad in ["1024", "\"1 KiB\"", "0", "\"8 KiB\"", "true"] {
        namespace(&block(bad), at, "expected", "");
    }
    for good in ["512", "4096", "\"4 KiB\"", "\"512 B\""] {
        let text = format!("{LISTENER}{SUBSYSTEM}[[subsystem.namespace]]\n{}\n", block(good));
        assert_eq!(found(&text), [], "{good}");
    }
}

#[test]
fn same_backing_twice_is_refused_unless_both_only_read() {
    let two = |first: &str, second: &str| {
        format!(
            "{LISTENER}{SUBSYSTEM}[[subsystem.namespace]]\nnsid = 1\n{first}\n\
             [[subsystem.namespace]]\nnsid = 2\n{second}\n"
        )
    };
    let at = "error 12:8 subsystem[0].namespace[1].file";
    let help = "subsystem[0].namespace[0].file at t.toml:9:8";
    one(&two("file = \"/a/b\"", "file = \"/a//./b\""), at, "two namespaces", help);
    let read = "file = \"/a/b\"; read_only = true".replace("; ", "\n");
    one(&two("file = \"/a/b\"", &read), at, "two namespaces", help);
    let at = "error 13:10 subsystem[0].namespace[1].device";
    one(&two(&read, "device = \"/a/b\""), at, "two namespaces", help);
    assert_eq!(found(&two(&read, &read)), []);
    assert_eq!(found(&two("ram = \"1 GiB\"", "ram = \"1 GiB\"")), []);
}

#[test]
fn addresses_are_addresses_of_a_machine() {
    let listener = |address: &str| REST.replace("192.0.2.10", address);
    for (address, message, help) in [
        ("example.org", "expected an IP address", "not looked up"),
        ("192.0.2.10:4420", "expected an IP address", "port = 4420"),
        ("[2001:db8::1]:4420", "expected an IP address", "port = 4420"),
        ("fe80::1%eth0", "expected an IP address", "link-local"),
        ("192.0.2.256", "expected an IP address", ""),
        ("", "expected an IP address", ""),
        ("fe80::1", "link-local", "this machine"),
        ("224.0.0.1", "multicast", "this machine"),
        ("ff02::1", "multicast", "this machine"),
        ("255.255.255.255", "broadcast", "this machine"),
        ("::ffff:192.0.2.1", "IPv4", "this machine"),
    ] {
        one(&listener(address), "error 4:11 listener[0].address", message, help);
    }
    for good in ["0.0.0.0", "::", "[::]", "[2001:db8::1]", "127.0.0.1"] {
        assert_eq!(found(&listener(good)), [], "{good}");
    }
    for port in ["0", "65536", "-1"] {
        let text = REST.replace("10\"\n", &format!("10\"\nport = {port}\n"));
        one(&text, "error 5:8 listener[0].port", "from 1 to 65535", "");
    }
    let text = REST.replace("name = \"fabric-a\"\n", "name = \"fabric-a\"\ntransport = \"tpc\"\n");
    one(&text, "error 4:13 listener[0].transport", "expected \"rdma\"", "");
    let text = REST.replace("name = \"fabric-a\"", "name = \"fabric a\"");
    one(&text, "error 3:8 listener[0].name", "holds ' '", "");
    let text = REST.replace("name = \"fabric-a\"\n", "");
    one(&text, "error 2:1 listener[0]", "\"name\" is missing", "fabric-a");
    let text = REST.replace("address = \"192.0.2.10\"\n", "");
    one(&text, "error 2:1 listener[0]", "\"address\" is missing", "this machine");
}

#[test]
fn listeners_do_not_collide() {
    let second = |first: &str, second: &str, port: u16| {
        let rest = REST.replace("192.0.2.10", first);
        format!("{rest}[[listener]]\nname = \"b\"\naddress = \"{second}\"\nport = {port}\n")
    };
    let at = "listener[1].address";
    let error = format!("error 13:11 {at}");
    let warning = format!("warning 13:11 {at}");
    one(&second("192.0.2.1", "192.0.2.1", 4420), &error, "used twice", "t.toml:4:11");
    one(&second("0.0.0.0", "192.0.2.1", 4420), &error, "collides", "t.toml:4:11");
    one(&second("192.0.2.1", "0.0.0.0", 4420), &error, "collides", "t.toml:4:11");
    one(&second("::", "::1", 4420), &error, "collides", "t.toml:4:11");
    one(&second("::", "0.0.0.0", 4420), &warning, "may collide", "different ports");
    one(&second("192.0.2.1", "::", 4420), &warning, "may collide", "different ports");
    assert_eq!(found(&second("192.0.2.1", "192.0.2.1", 4421)), []);
    assert_eq!(found(&second("0.0.0.0", "192.0.2.1", 4421)), []);
    assert_eq!(found(&second("192.0.2.1", "192.0.2.2", 4420)), []);
    assert_eq!(found(&second("192.0.2.1", "2001:db8::1", 4420)), []);
}

#[test]
fn listeners_of_a_subsystem_exist() {
    let with = |list: &str| REST.replace("allow_any", &format!("listeners = {list}\nallow_any"));
    let at = "error 7:14 subsystem[0].listeners[0]";
    one(&with("[\"fabric-b\"]"), at, "no listener \"fabric-b\"", "did you mean \"fabric-a\"?");
    one(&with("[\"storage\"]"), at, "no listener \"storage\"", "there are: fabric-a");
    let at = "error 7:26 subsystem[0].listeners[1]";
    one(&with("[\"fabric-a\", \"fabric-a\"]"), at, "named twice", "");
    one(&with("[]"), "warning 7:13 subsystem[0].listeners", "nobody can connect", "leave");
    one(&with("\"fabric-a\""), "error 7:13 subsystem[0].listeners", "list", "[\"fabric-a\"]");
}

#[test]
fn listener_that_is_itself_wrong_causes_no_error_where_it_is_used() {
    let with = REST.replace("allow_any", "listeners = [\"fabric-a\"]\nallow_any");
    let address = with.replace("192.0.2.10", "nowhere");
    one(&address, "error 4:11 listener[0].address", "expected an IP address", "");
    let name = with.replace("name = \"fabric-a\"", "name = 5");
    one(&name, "error 3:8 listener[0].name", "found the integer 5", "");
}

#[test]
fn hosts_are_named_or_all_allowed_but_not_both() {
    let host = "nqn.2014-08.org.nvmexpress:uuid:2cd2c43b-a90a-45c1-a8cd-86b33ab273b5";
    let both = REST.replace("allow_any", &format!("hosts = [\"{host}\"]\nallow_any"));
    one(&both, "error 7:9 subsystem[0].hosts", "lets in everyone", "keep");
    for nobody in ["", "allow_any_host = false\n", "hosts = []\n"] {
        let text = REST.replace("allow_any_host = true\n", nobody);
        one(&text, "warning 5:1 subsystem[0]", "nobody can connect", "/etc/nvme/hostnqn");
    }
    let twice =
        REST.replace("allow_any_host = true", &format!("hosts = [\n\"{host}\",\n\"{host}\"]"));
    one(&twice, "warning 9:1 subsystem[0].hosts[1]", "named twice", "");
}

#[test]
fn configuration_that_serves_nobody_is_pointed_out() {
    let none = REST.replace("[[listener]]\nname = \"fabric-a\"\naddress = \"192.0.2.10\"\n", "");
    one(&none, "error -", "no listener", "[[listener]]");
    one(LISTENER, "warning -", "no subsystem", "[[subsystem]]");
    let bare = format!("{LISTENER}{SUBSYSTEM}");
    one(&bare, "warning 4:1 subsystem[0]", "no namespace", "[[subsystem.namespace]]");
    above("[rdma]\nmode = \"off\"", "warning 2:8 rdma.mode", "no \"rdma\" listener", "auto");
    let at = "warning 10:10 subsystem[0].namespace[0].direct";
    namespace("nsid = 1\nram = \"1 GiB\"\ndirect = \"on\"", at, "no effect", "");
}

#[test]
fn tables_have_bounded_numbers_of_entries() {
    let many: String = (0..65)
        .map(|index| format!("[[listener]]\nname = \"l{index}\"\naddress = \"192.0.2.{index}\"\n"))
        .collect();
    let found = found(&format!("{many}{SUBSYSTEM}"));
    assert!(found[0].message.contains("at most 64"), "{found:#?}");
    let hosts: String =
        (0..1025).map(|index| format!("\"nqn.2026-01.org.example:h{index}\",\n")).collect();
    let text = REST.replace("allow_any_host = true", &format!("hosts = [\n{hosts}]"));
    one(&text, "error 7:9 subsystem[0].hosts", "at most 1024 are possible, found 1025", "");
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let text = "state_dir = 5\n[log]\nlevel = \"loud\"\ncolour = 1\n[limits]\nhosts = 0\n\
        [[listener]]\nname = \"a\"\naddress = \"x\"\n[[subsystem]]\nnqn = \"x\"\n\
        [[subsystem.namespace]]\nnsid = 0\n";
    let places: Vec<_> = found(text).iter().map(place).collect();
    assert_eq!(
        places,
        [
            "error 1:13 state_dir",
            "error 3:9 log.level",
            "error 4:1 log.colour",
            "error 6:9 limits.hosts",
            "error 9:11 listener[0].address",
            "warning 10:1 subsystem[0]",
            "error 11:7 subsystem[0].nqn",
            "error 12:1 subsystem[0].namespace[0]",
            "error 13:8 subsystem[0].namespace[0].nsid",
        ]
    );
}

#[test]
fn rendering_shows_the_line_with_a_caret_and_the_advice() {
    let text = format!("[log]\nlevle = \"info\" # \u{e9}\n{REST}");
    let shown = parse(&text, "/etc/sluice/sluice.toml").unwrap_err().to_string();
    let expected = "\
error: log.levle: unknown key \"levle\"
 --> /etc/sluice/sluice.toml:2:1
  |
2 | levle = \"info\" # \u{e9}
  | ^^^^^
  = help: did you mean \"level\"?

1 error, 0 warnings";
    assert_eq!(shown, expected);
}

#[test]
fn json_form_is_flat() {
    let errors = parse(&format!("[log]\nlevle = 1\n{REST}"), "t.toml").unwrap_err();
    let json = serde_json::to_value(errors.as_slice()).unwrap();
    let expected = serde_json::json!([{
        "severity": "error", "path": "t.toml", "line": 2, "column": 1, "key": "log.levle",
        "message": "unknown key \"levle\"", "help": "did you mean \"level\"?",
    }]);
    assert_eq!(json, expected);
}
