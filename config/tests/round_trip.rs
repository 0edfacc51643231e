//! What a configuration is written as reads back as the same configuration.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use sluice_config::names::{ListenerName, LogFilter, Model, Nsid, Serial};
use sluice_config::nqn::{HostNqn, SubsystemNqn};
use sluice_config::schema::{
    AllowedHosts, Backend, BlockSize, ChapGroup, ChapHash, Config, DirectIo, Host, KeySource,
    Limits, Listener, Log, LogFormat, Namespace, Placement, Rdma, RdmaMode, Reactors,
    SendWithInvalidate, Subsystem, Transport,
};
use sluice_config::size::SizeBytes;
use sluice_config::{limits, parse};

fn log() -> impl Strategy<Value = Log> {
    let level = prop_oneof![Just("info"), Just("off"), Just("warn,nvme::queue=trace,a=debug")];
    let format = prop_oneof![Just(LogFormat::Text), Just(LogFormat::Json)];
    (level, format)
        .prop_map(|(level, format)| Log { level: LogFilter::parse(level).unwrap(), format })
}

fn reactors() -> impl Strategy<Value = Reactors> {
    let cores = proptest::collection::btree_set(0..=limits::CORE_MAX, 1..20);
    let placement = prop_oneof![
        (1..=256_u16).prop_map(Placement::Count),
        cores.prop_map(|cores| Placement::Cores(cores.into_iter().rev().collect())),
    ];
    let spin = (0..=10_000_000_u64).prop_map(Duration::from_nanos);
    (placement, spin).prop_map(|(placement, spin)| Reactors { placement, spin })
}

fn rdma() -> impl Strategy<Value = Rdma> {
    let mode = prop_oneof![Just(RdmaMode::Auto), Just(RdmaMode::On)];
    let invalidate = prop_oneof![Just(SendWithInvalidate::Auto), Just(SendWithInvalidate::Off)];
    (mode, invalidate).prop_map(|(mode, send_with_invalidate)| Rdma { mode, send_with_invalidate })
}

fn bounds() -> impl Strategy<Value = Limits> {
    let counts = (1..=4096_u32, 1..=16384_u32, 300..=65536_u32, 16..=1024_u16, 1..=256_u16);
    let sizes = (12..=22_u32, 0..=4_u32, (16_u64 << 20)..=(64 << 30), 1..=65536_u32);
    let times = (100..=120_000_u64, 1..=86_400_u64, 1_000..=86_400_000_u64);
    (counts, sizes, times).prop_map(|(counts, sizes, times)| Limits {
        hosts: counts.0,
        controllers: counts.1,
        queues: counts.2,
        queue_depth: counts.3,
        io_queues: counts.4,
        transfer_bytes: 1 << sizes.0,
        in_capsule_bytes: sizes.1 * 4096,
        pool: SizeBytes(sizes.2),
        closing: sizes.3,
        handshake: Duration::from_millis(times.0),
        keep_alive_max: Duration::from_secs(times.1),
        discovery_idle: Duration::from_millis(times.2),
    })
}

fn listeners() -> impl Strategy<Value = Vec<Listener>> {
    let sockets = proptest::collection::btree_set((any::<u32>(), any::<bool>(), 1..=9_u16), 1..5);
    sockets.prop_map(|sockets| {
        let listener = |(index, (bits, v6, port)): (usize, (u32, bool, u16))| {
            let address: IpAddr = if v6 {
                std::net::Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(bits)).into()
            } else {
                std::net::Ipv4Addr::from_bits(0x0a00_0000 | (bits & 0x00ff_ffff)).into()
            };
            let name = ListenerName::parse(&format!("Fabric-{index}_x.y")).unwrap();
            Listener { name, transport: Transport::Rdma, address: address.into(), port }
        };
        let mut seen = std::collections::BTreeSet::new();
        let all = sockets.into_iter().enumerate().map(listener);
        all.filter(|listener| seen.insert((listener.address.value, listener.port))).collect()
    })
}

/// A path with all that a file name may hold and a quoted string must escape.
fn path(number: usize, odd: &str) -> PathBuf {
    PathBuf::from(format!("/srv/{number}/{}", odd.replace(['/', '\0'], "_")))
}

type Parts = (u8, u64, String, Option<bool>, bool, (Option<u128>, Option<u64>), u128);

fn namespaces(number: usize, parts: BTreeMap<u32, Parts>) -> Vec<Namespace> {
    let namespace = |(index, (nsid, parts)): (usize, (u32, Parts))| {
        let (kind, blocks, odd, flag, read_only, (nguid, eui64), uuid) = parts;
        let size = SizeBytes((1 << 20) + blocks * 4096);
        let path = || path(number * 1000 + index, &odd).into();
        let backend = match kind % 5 {
            0 => Backend::File { path: path(), create: None },
            1 => Backend::File { path: path(), create: Some(size) },
            2 => Backend::Device { path: path() },
            3 => Backend::Ram { size: size.into() },
            _ => Backend::Null { size },
        };
        let direct = match (kind % 5, flag) {
            (3.., _) | (_, None) => DirectIo::Auto,
            (_, Some(true)) => DirectIo::On,
            (_, Some(false)) => DirectIo::Off,
        };
        let block_size = flag.map(|four| if four { BlockSize::B4096 } else { BlockSize::B512 });
        Namespace {
            nsid: Nsid::new(nsid).unwrap(),
            uuid: uuid::Uuid::from_u128(uuid.max(1)),
            nguid: nguid.map(|nguid| nguid.max(1).to_be_bytes()),
            eui64: eui64.map(|eui64| eui64.max(1).to_be_bytes()),
            backend,
            block_size,
            direct,
            read_only,
        }
    };
    parts.into_iter().enumerate().map(namespace).collect()
}

fn parts() -> impl Strategy<Value = Parts> {
    let ids = (any::<Option<u128>>(), any::<Option<u64>>());
    (
        any::<u8>(),
        0..1_000_000_u64,
        ".{0,20}",
        any::<Option<bool>>(),
        any::<bool>(),
        ids,
        any::<u128>(),
    )
}

fn subsystems() -> impl Strategy<Value = Vec<(Subsystem, bool)>> {
    let text = "[!-~]([ -~]{0,14}[!-~])?";
    let hosts = proptest::option::of(proptest::collection::btree_set("[a-z0-9]{1,9}", 0..4));
    let namespaces_of = proptest::collection::btree_map(1..=limits::NSID_MAX, parts(), 0..4);
    let one = (text, text, hosts, namespaces_of, any::<bool>());
    proptest::collection::vec(one, 0..4).prop_map(|list| {
        let one = |(number, (serial, model, hosts, parts, all))| {
            let host =
                |name: String| HostNqn::parse(&format!("nqn.2026-01.org.example:{name}")).unwrap();
            let hosts: Option<std::collections::BTreeSet<String>> = hosts;
            let (serial, model): (String, String) = (serial, model);
            let subsystem = Subsystem {
                nqn: SubsystemNqn::parse(&format!("nqn.2026-01.org.example:\u{e9}\"{number}"))
                    .unwrap()
                    .into(),
                serial: Serial::parse(&serial).unwrap(),
                model: Model::parse(&model).unwrap(),
                hosts: match hosts {
                    None => AllowedHosts::Any,
                    Some(hosts) => AllowedHosts::Only(hosts.into_iter().map(host).collect()),
                },
                listeners: Vec::new(),
                namespaces: namespaces(number, parts),
            };
            (subsystem, all)
        };
        list.into_iter().enumerate().map(one).collect()
    })
}

fn hosts() -> impl Strategy<Value = Vec<Host>> {
    use ChapGroup::{Ffdhe2048, Ffdhe3072, Ffdhe4096, Ffdhe6144, Ffdhe8192, Null};
    let key = |credential: bool, name: &str| match credential {
        true => KeySource::Credential(format!("{name}\"\u{e9}").into()),
        false => KeySource::File(PathBuf::from(format!("/keys/{name}\t\\")).into()),
    };
    let hashes = [ChapHash::Sha256, ChapHash::Sha384, ChapHash::Sha512];
    let groups = [Null, Ffdhe2048, Ffdhe3072, Ffdhe4096, Ffdhe6144, Ffdhe8192];
    let hashes = proptest::sample::subsequence(hashes.to_vec(), 1..=3).prop_shuffle();
    let groups = proptest::sample::subsequence(groups.to_vec(), 1..=6).prop_shuffle();
    let one = (any::<bool>(), any::<Option<bool>>(), hashes, groups);
    proptest::collection::vec(one, 0..4).prop_map(move |list| {
        let host = |(number, (credential, controller, hashes, groups))| Host {
            nqn: HostNqn::parse(&format!("nqn.2026-01.org.example:{number}")).unwrap().into(),
            key: key(credential, "host"),
            controller_key: Option::map(controller, |credential| key(credential, "controller")),
            hashes,
            groups,
        };
        list.into_iter().enumerate().map(host).collect()
    })
}

fn config() -> impl Strategy<Value = Config> {
    (log(), reactors(), rdma(), bounds(), listeners(), hosts(), subsystems()).prop_map(
        |(log, reactors, rdma, limits, listeners, hosts, subsystems)| {
            let names = |all: bool| {
                let names = listeners.iter().map(|listener| listener.name.clone());
                if all { names.collect() } else { names.skip(1).collect() }
            };
            let subsystems = subsystems
                .into_iter()
                .map(|(subsystem, all)| Subsystem { listeners: names(all), ..subsystem })
                .collect();
            Config {
                state_dir: PathBuf::from("/var/lib/\u{e9}\t\"\\").into(),
                control_socket: PathBuf::from("/run/x").into(),
                log,
                reactors,
                rdma,
                limits,
                listeners,
                hosts,
                subsystems,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    })]

    #[test]
    fn config_reads_back_as_it_was_written(config in config()) {
        let text = config.to_toml();
        let loaded = match parse(&text, "written.toml") {
            Ok(loaded) => loaded,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}\n{text}"))),
        };
        prop_assert_eq!(loaded.config, config);
    }
}
