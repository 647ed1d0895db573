//! Who may know whom.

use std::collections::BTreeSet;

use super::code::{Source, names_crate, paths_of_the_crate, tokens};
use super::{assert_none, sources};

const CORE: &str = "sync-core/src";

/// What each part of the core may name beside itself; later ones know earlier ones.
const KNOWS: [(&str, &[&str]); 19] = [
    ("error", &[]),
    ("version", &["error"]),
    ("event", &["error", "version"]),
    ("query", &["error"]),
    ("telemetry", &[]),
    ("port", &["error", "version", "event", "query", "telemetry"]),
    ("policy", &["error", "version", "event"]),
    // The rooms: ports, never an adapter and never each other.
    ("relay", &["error", "version", "event", "port", "policy", "telemetry"]),
    // What two of them share.
    ("applier", &["error", "version", "event", "port", "policy"]),
    ("indexer", &["error", "version", "event", "port", "policy", "telemetry", "applier"]),
    ("repair", &["error", "version", "event", "port", "policy", "applier"]),
    ("alerts", &["error", "version", "event", "port", "policy", "telemetry"]),
    ("search", &["error", "version", "event", "query", "port", "policy", "telemetry"]),
    ("saga", &["error", "port", "policy", "telemetry"]),
    // Which is about sagas.
    ("workspace", &["error", "port", "telemetry", "saga"]),
    ("adapter", &["error", "version", "event", "query", "port", "policy", "telemetry"]),
    // What puts rooms and adapters together.
    ("pipeline", &["error", "port", "policy", "relay", "indexer", "repair", "alerts", "adapter"]),
    ("setters", &[]),
    // Suites that judge adapters know none of them.
    ("testkit", &["error", "version", "event", "query", "port"]),
];

/// A client crate, and the adapters that may name it.
const CLIENTS: [(&str, &[&str]); 13] = [
    ("tokio_postgres", &["postgres"]),
    ("deadpool_postgres", &["postgres"]),
    ("tokio_postgres_rustls", &["postgres"]),
    ("rustls", &["postgres", "docker"]),
    ("rustls_native_certs", &["postgres"]),
    ("refinery", &["postgres"]),
    ("rdkafka", &["kafka"]),
    ("elasticsearch", &["elasticsearch"]),
    ("reqwest", &["webhook", "otlp"]),
    ("bollard", &["docker"]),
    ("opentelemetry", &["otlp"]),
    ("opentelemetry_sdk", &["otlp"]),
    ("tantivy", &["local_index"]),
];

/// The paths a file of the core names outside its tests.
fn named(source: &Source) -> Vec<Vec<String>> {
    paths_of_the_crate(&source.production, &source.module(CORE))
}

#[test]
fn each_part_of_the_core_knows_only_the_parts_below_it() {
    let mut offences = BTreeSet::new();
    for source in sources(CORE) {
        let Some(own) = source.module(CORE).first().copied() else { continue };
        let Some((_, known)) = KNOWS.iter().find(|(part, _)| *part == own) else {
            offences.insert(format!("{}: {own} is new; say in tests/tidy/rooms.rs whom it may know", source.path));
            continue;
        };
        for path in named(source) {
            // Types at the root of the crate are errors, events and versions: see the next test.
            let Some(part) = path.first().filter(|part| part.starts_with(char::is_lowercase)) else { continue };
            if part != own && !known.contains(&part.as_str()) {
                offences.insert(format!("{}: {own} must not know {part}", source.path));
            }
        }
    }
    assert_none("a part of the core names what it must not know", offences);
}

#[test]
fn the_root_of_the_core_re_exports_only_what_everybody_may_know() {
    let root = sources("sync-core/src/lib.rs").next().unwrap();
    let tokens = tokens(&root.production);
    let exported = tokens.windows(3).filter(|three| three[..2] == ["pub", "use"]).map(|three| three[2]);
    let others = exported.filter(|part| !["error", "version", "event"].contains(part));
    assert_none("what is at the root is known to every room", others.map(str::to_owned));
}

#[test]
fn an_adapter_never_names_another_adapter() {
    let folder = |source: &Source| source.module(CORE).get(1).map(|adapter| (*adapter).to_owned());
    let adapters: Vec<_> = sources("sync-core/src/adapter/").collect();
    // A folder is an adapter; what they share are single files.
    let names: BTreeSet<_> =
        adapters.iter().filter(|one| one.module(CORE).len() > 2).filter_map(|one| folder(one)).collect();
    assert!(names.contains("postgres") && names.contains("memory"), "{names:?}");
    let mut offences = BTreeSet::new();
    for source in &adapters {
        let Some(own) = folder(source) else { continue };
        for path in named(source) {
            if let [adapter, other, ..] = &path[..]
                && adapter == "adapter"
                && *other != own
                && names.contains(other)
            {
                offences.insert(format!("{}: {own} must not know {other}", source.path));
            }
        }
    }
    assert_none("adapters know ports, not each other", offences);
}

#[test]
fn a_client_crate_is_named_only_in_the_folder_of_its_adapter() {
    let mut offences = Vec::new();
    for source in sources(CORE) {
        for (client, adapters) in CLIENTS {
            let is_home = adapters.iter().any(|adapter| source.module(CORE).starts_with(&["adapter", adapter]));
            if !is_home && names_crate(&source.code, client) {
                offences.push(format!("{}: {client} belongs to adapter/{}", source.path, adapters.join(", ")));
            }
        }
    }
    assert_none("a client crate is named outside its adapter", offences);
}

#[test]
fn decisions_neither_wait_nor_look_at_a_clock() {
    let doing = ["async", "await", "Instant", "SystemTime", "tokio", "rand", "fs", "net", "thread"];
    let pure = [
        "sync-core/src/policy",
        "sync-core/src/event",
        "sync-core/src/query",
        "sync-core/src/alerts/condition.rs",
        "sync-core/src/alerts/reading.rs",
        "sync-core/src/alerts/conditions.rs",
        "sync-core/src/indexer/batch.rs",
        "sync-core/src/indexer/failure.rs",
        "sync-core/src/indexer/message.rs",
        "sync-core/src/indexer/settle.rs",
        "sync-core/src/saga/plan.rs",
        "sync-core/src/workspace/cleanup/verdict.rs",
    ];
    let offences = pure.into_iter().flat_map(sources).flat_map(|source| {
        let clock = source.production.contains("Timestamp::now").then_some("Timestamp::now");
        let found = tokens(&source.production).into_iter().filter(|token| doing.contains(token)).chain(clock);
        found.map(|token| format!("{}: {token}", source.path)).collect::<Vec<_>>()
    });
    assert_none("a decision is told everything it needs", offences);
}

#[test]
fn only_the_wiring_of_the_runner_knows_more_than_one_adapter() {
    let mut offences = Vec::new();
    for source in sources("sync-runner/src").filter(|source| !source.path.contains("/wire")) {
        let tokens = tokens(&source.production);
        let named = tokens.windows(3).filter(|three| three[..2] == ["adapter", "::"]).map(|three| three[2]);
        let named: BTreeSet<_> = named.collect();
        if named.len() > 1 || named.contains("{") {
            offences.push(format!("{}: {named:?}", source.path));
        }
    }
    assert_none("wire.rs and its folder make of the configuration what the others work with", offences);
}
