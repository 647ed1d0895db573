//! `[workspaces]`: containers with an address and a name; `[workspaces.hosts.NAME]`: where they live.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use sync_core::port::{AddressRange, check_host_name};
use sync_core::workspace::WorkspaceOrder;

use super::reader::{Reader, Section};

/// Containers with an address and a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workspaces {
    /// Whose containers they are, among all owners on these hosts.
    pub(crate) owner: String,
    /// The application's statements.
    pub(crate) statements: Statements,
    /// What a workspace is like that says nothing else.
    pub(crate) defaults: WorkspaceOrder,
    /// How long a creation may take.
    pub(crate) time_allowed: Duration,
    /// The directory of hosts files.
    pub(crate) host_names: Option<PathBuf>,
    /// What follows a workspace in its name.
    pub(crate) domain: Option<String>,
    /// Sagas at a time.
    pub(crate) concurrency: usize,
    /// How long a saga is left to a process that says nothing.
    pub(crate) lease: Duration,
    /// Tries of a step.
    pub(crate) attempts: u32,
    /// How long one try may take.
    pub(crate) step_timeout: Duration,
    /// How long undoing a step is tried while what it needs is away.
    pub(crate) undo_patience: Duration,
    /// How long an engine may take to answer.
    pub(crate) engine_timeout: Duration,
    /// How long sagas that ended are kept.
    pub(crate) retention: Duration,
    /// What nobody owns is removed.
    pub(crate) cleanup: Cleanup,
    /// Where workspaces live.
    pub(crate) hosts: BTreeMap<String, Host>,
}

/// Statements of the application's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statements {
    /// All workspaces there are: `id`, `is_gone`.
    pub(crate) known: Option<String>,
    /// Before one is created.
    pub(crate) create: Option<String>,
    /// When one is there.
    pub(crate) ready: Option<String>,
    /// When one was taken back.
    pub(crate) failed: Option<String>,
    /// Before one is deleted.
    pub(crate) delete: Option<String>,
    /// When one is deleted.
    pub(crate) deleted: Option<String>,
}

/// What nobody owns is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleanup {
    /// Between two rounds.
    pub(crate) interval: Duration,
    /// What is younger is left alone when its workspace is missing.
    pub(crate) grace: Duration,
    /// When none of so many workspaces is known, nothing is removed.
    pub(crate) suspicious: usize,
}

/// Where workspaces live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its engine.
    pub(crate) engine: String,
    /// How it is protected.
    pub(crate) tls: Option<Tls>,
    /// The network of its workspaces.
    pub(crate) network: Option<String>,
    /// Their addresses.
    pub(crate) addresses: Option<AddressRange>,
}

/// Files that prove who an engine is, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) ca_file: PathBuf,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Default for Workspaces {
    fn default() -> Self {
        Self {
            owner: String::new(),
            statements: Statements::default(),
            defaults: WorkspaceOrder::default(),
            time_allowed: 10 * MINUTE,
            host_names: None,
            domain: None,
            concurrency: 8,
            lease: 15 * SECOND,
            attempts: 3,
            step_timeout: 2 * MINUTE,
            undo_patience: 30 * SECOND,
            engine_timeout: MINUTE,
            retention: 30 * DAY,
            cleanup: Cleanup { interval: MINUTE, grace: MINUTE, suspicious: 10 },
            hosts: BTreeMap::new(),
        }
    }
}

impl Workspaces {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let hosts: BTreeMap<_, _> = reader
            .names_in("workspaces.hosts")
            .into_iter()
            .filter_map(|name| Some((name.clone(), Host::read(reader.section(&format!("workspaces.hosts.{name}")))?)))
            .collect();
        let env = reader.section("workspaces.env").everything();
        let cleanup = Cleanup::read(reader.section("workspaces.cleanup"), default.cleanup);
        let mut section = reader.section("workspaces");
        let owner = section.text("owner").unwrap_or_default();
        let statements = Statements::read(&mut section);
        if !hosts.is_empty() {
            if owner.is_empty() {
                let what = "is missing: a name for this database among all whose workspaces are on these hosts";
                section.problem("owner", what);
            }
            if statements.known.is_none() {
                section.problem("known", "is missing: SQL that selects `id` and `is_gone` of all workspaces there are");
            }
        }
        if owner.contains(|c: char| c.is_control()) {
            section.problem("owner", "expected text on one line");
        }
        let domain = section.text("domain");
        if domain.as_deref().is_some_and(|domain| check_host_name(domain).is_err()) {
            section.problem("domain", "expected what follows a host name, such as \"workspaces.example.org\"");
        }
        let host_names = section.path("host_names");
        if domain.is_some() && host_names.is_none() {
            section.problem("domain", "is not used without workspaces.host_names, the directory where names are told");
        }
        let cpus = section.text("cpus").and_then(|text| {
            let cpus = text.parse().ok().filter(|cpus| (0.01..=10_000.0).contains(cpus));
            if cpus.is_none() {
                section.problem("cpus", format!("{text:?} is no number of processors, such as \"0.5\""));
            }
            cpus
        });
        let shell = |line: String| ["/bin/sh".to_owned(), "-c".to_owned(), line].to_vec();
        let defaults = WorkspaceOrder {
            image: section.text("image"),
            command: section.list("command"),
            env: env.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect(),
            setup: section.list("setup").map(|lines| lines.into_iter().map(shell).collect()),
            host: None,
            host_name: None,
            memory: section.size("memory", 6 << 20..=1 << 46).map(|bytes| bytes as u64),
            cpus,
            pids: section.integer("pids", 1..=4_194_304),
        };
        Self {
            owner,
            statements,
            defaults,
            time_allowed: section.duration("time_allowed", SECOND..=DAY).unwrap_or(default.time_allowed),
            host_names,
            domain,
            concurrency: section.integer("concurrency", 1..=1_000).unwrap_or(default.concurrency),
            lease: section.duration("lease", SECOND..=10 * MINUTE).unwrap_or(default.lease),
            attempts: section.integer("attempts", 1..=100).unwrap_or(default.attempts),
            step_timeout: section.duration("step_timeout", SECOND..=DAY).unwrap_or(default.step_timeout),
            undo_patience: section.duration("undo_patience", SECOND..=DAY).unwrap_or(default.undo_patience),
            engine_timeout: section.duration("engine_timeout", SECOND..=10 * MINUTE).unwrap_or(default.engine_timeout),
            retention: section.duration("retention", 60 * MINUTE..=3_650 * DAY).unwrap_or(default.retention),
            cleanup,
            hosts,
        }
    }
}

impl Statements {
    fn read(section: &mut Section<'_>) -> Self {
        let mut text = |key| section.text(key);
        Self {
            known: text("known"),
            create: text("create"),
            ready: text("ready"),
            failed: text("failed"),
            delete: text("delete"),
            deleted: text("deleted"),
        }
    }
}

impl Cleanup {
    fn read(mut section: Section<'_>, default: Self) -> Self {
        Self {
            interval: section.duration("interval", SECOND..=DAY).unwrap_or(default.interval),
            grace: section.duration("grace", Duration::ZERO..=DAY).unwrap_or(default.grace),
            suspicious: section.integer("suspicious", 1..=1_000_000_000).unwrap_or(default.suspicious),
        }
    }
}

impl Host {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let engine = section.text("engine");
        if engine.is_none() {
            section.problem(
                "engine",
                "is missing: where its Docker engine listens, such as \"unix:///var/run/docker.sock\"",
            );
        }
        let tls = Tls::read(&mut section);
        let network = section.text("network");
        let addresses = section.text("addresses").and_then(|text| {
            let range = range(&text);
            if range.is_none() {
                let what =
                    format!("{text:?} is no range: expected the first and the last, as in \"10.0.0.10-10.0.0.250\"");
                section.problem("addresses", what);
            }
            range
        });
        if network.is_some() && addresses.is_none() {
            section.problem("addresses", "is missing: the addresses its workspaces have in their network");
        }
        Some(Self { engine: engine?, tls, network, addresses })
    }
}

impl Tls {
    /// All three files or none.
    fn read(section: &mut Section<'_>) -> Option<Self> {
        const KEYS: [&str; 3] = ["ca_file", "certificate_file", "key_file"];
        let files = KEYS.map(|key| section.path(key));
        if files.iter().any(Option::is_some) {
            for (key, _) in KEYS.iter().zip(&files).filter(|(_, file)| file.is_none()) {
                section.problem(key, "is missing: TLS needs ca_file, certificate_file and key_file");
            }
        }
        let [ca_file, certificate_file, key_file] = files;
        Some(Self { ca_file: ca_file?, certificate_file: certificate_file?, key_file: key_file? })
    }
}

fn range(text: &str) -> Option<AddressRange> {
    let (first, last) = text.split_once('-')?;
    let [first, last]: [IpAddr; 2] = [first.trim().parse().ok()?, last.trim().parse().ok()?];
    (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(AddressRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_addresses_is_told_from_what_is_none() {
        assert!(range("10.0.0.1-10.0.0.1").is_some() && range("fd00::1 - fd00::ff").is_some());
        for wrong in ["10.0.0.1", "10.0.0.2-10.0.0.1", "10.0.0.1-fd00::1", "10.0.0.0/24", "-", "a-b"] {
            assert!(range(wrong).is_none(), "{wrong}");
        }
    }
}
