//! The configuration: a file, laid over by the environment, laid over by flags; read as a whole, refused as a whole.
//!
//! Keys are asked for one by one, each with its type and range, and what nobody asked for is unknown. So every problem
//! is told at once, with the file's line, the variable or the flag it came from.

mod admin;
mod alerts;
mod elasticsearch;
mod index;
mod indexer;
mod kafka;
mod layers;
mod local_index;
mod log;
mod postgres;
mod problem;
mod quantity;
mod reader;
mod reconcile;
mod relay;
mod search;
mod secret;
mod traces;
mod unknown;
mod workspaces;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sync_core::policy::holds_failures_of;

pub(crate) use self::admin::Admin;
pub(crate) use self::alerts::Alerts;
pub(crate) use self::elasticsearch::{Credentials, Elasticsearch};
pub(crate) use self::index::{Index, SourceFile, SyncedAt};
pub(crate) use self::indexer::{Indexer, Retries, Sink};
pub(crate) use self::kafka::{Kafka, Mechanism, Security};
use self::layers::Layers;
pub(crate) use self::layers::Sources;
pub(crate) use self::local_index::LocalIndex;
pub(crate) use self::log::{Format, Log};
pub(crate) use self::postgres::{Postgres, PostgresUrl};
use self::problem::Problem;
pub(crate) use self::problem::Problems;
pub(crate) use self::quantity::{parse_duration, show_duration};
use self::reader::{Reader, Section};
pub(crate) use self::reconcile::Reconcile;
pub(crate) use self::relay::{Bus, DebeziumValue, Delivery, Encoding, Relay};
pub(crate) use self::search::{Breaker, Search, Searchable};
pub(crate) use self::secret::Secret;
pub(crate) use self::traces::Traces;
pub(crate) use self::workspaces::{Host as WorkspaceHost, Statements as WorkspaceStatements, Workspaces};

/// The file that is read when none is named.
pub(crate) const DEFAULT_PATH: &str = "sync.toml";

/// The documented configuration with every default, as `init` writes it.
pub(crate) const DOCUMENTED: &str = include_str!("../sync.toml");

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    /// The database.
    pub(crate) postgres: Postgres,
    /// Outbox to bus.
    pub(crate) relay: Relay,
    /// The brokers.
    pub(crate) kafka: Kafka,
    /// The cluster that holds the indexes.
    pub(crate) elasticsearch: Elasticsearch,
    /// Where the indexes are when there is none.
    pub(crate) local_index: LocalIndex,
    /// Bus to index.
    pub(crate) indexer: Indexer,
    /// The indexes by name.
    pub(crate) indexes: BTreeMap<String, Index>,
    /// When indexes are compared with the database.
    pub(crate) reconcile: Reconcile,
    /// How searches are answered.
    pub(crate) search: Search,
    /// Containers with an address and a name.
    pub(crate) workspaces: Workspaces,
    /// What operators see of a process.
    pub(crate) admin: Admin,
    /// Who is told of dead letters, and of how the pipeline stands.
    pub(crate) alerts: Alerts,
    /// Where it is told what was done for traced transactions.
    pub(crate) traces: Traces,
    /// What is told on standard error.
    pub(crate) log: Log,
}

impl Config {
    /// Reads the configuration of this process: the file `path` names, or `sync.toml` where there is one, this
    /// process's environment, and `flags`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(path: Option<&Path>, flags: &[String]) -> Result<Self, Problems> {
        let file = read_file(path)?;
        Self::read(&Sources { file, variables: std::env::vars_os().collect(), flags: flags.to_vec() })
    }

    /// Reads the configuration from these sources.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn read(sources: &Sources) -> Result<Self, Problems> {
        let (layers, problems) = sources.lay();
        // Where the sources themselves cannot be read, what they seem to say would only mislead.
        if !problems.is_empty() {
            return Err(Problems { problems });
        }
        let (config, _, problems) = Self::read_layers(layers, sources.base());
        if problems.is_empty() { Ok(config) } else { Err(Problems { problems }) }
    }

    /// The configuration, every key that is known, and what is wrong.
    fn read_layers(layers: Layers, base: PathBuf) -> (Self, BTreeSet<String>, Vec<Problem>) {
        let mut reader = Reader::new(layers, base);
        let kafka = Kafka::read(reader.section("kafka"));
        let elasticsearch = Elasticsearch::read(reader.section("elasticsearch"));
        let mut config = Self {
            postgres: Postgres::read(reader.section("postgres")),
            relay: Relay::read(reader.section("relay"), !kafka.brokers.is_empty()),
            indexer: Indexer::read(reader.section("indexer"), !elasticsearch.urls.is_empty()),
            kafka,
            elasticsearch,
            local_index: LocalIndex::read(reader.section("local_index")),
            indexes: BTreeMap::new(),
            reconcile: Reconcile::read(reader.section("reconcile")),
            search: Search::read(reader.section("search")),
            workspaces: Workspaces::read(&mut reader),
            admin: Admin::read(reader.section("admin")),
            alerts: Alerts::read(reader.section("alerts")),
            traces: Traces::read(reader.section("traces")),
            log: Log::read(reader.section("log")),
        };
        let mut aliases: BTreeMap<String, String> = BTreeMap::new();
        for name in reader.names_in("indexes") {
            let Some(index) = Index::read(reader.section(&format!("indexes.{name}")), &name) else { continue };
            if let Some(other) = aliases.insert(index.alias.clone(), name.clone()) {
                let message = format!("{:?} is the alias of index {other} too", index.alias);
                reader.section(&format!("indexes.{name}")).problem("alias", message);
            }
            config.indexes.insert(name, index);
        }
        config.check_topics(&mut reader);
        match config.relay.bus {
            Bus::Direct => config.check_direct(reader.section("relay")),
            Bus::Kafka if config.kafka.brokers.is_empty() => {
                reader.section("kafka").problem("brokers", "is missing: relay.bus is \"kafka\"");
            }
            Bus::Kafka => {}
        }
        if config.indexer.sink == Sink::Elasticsearch && config.elasticsearch.urls.is_empty() {
            reader.section("elasticsearch").problem("url", "is missing: indexer.sink is \"elasticsearch\"");
        }
        let (known, problems) = reader.finish();
        (config, known, problems)
    }
}

impl Config {
    /// What fails of a topic goes to topics that are made for it.
    fn check_topics(&self, reader: &mut Reader) {
        for (name, Index { topic, .. }) in &self.indexes {
            if let Some((other, _)) = self.indexes.iter().find(|(_, other)| holds_failures_of(&other.topic, topic)) {
                let message = format!("{topic:?} is where what fails for index {other} goes; call it otherwise");
                reader.section(&format!("indexes.{name}")).problem("topic", message);
            }
        }
    }

    /// Without a broker, a topic has one reader, and an event nobody reads has nowhere to go.
    fn check_direct(&self, mut relay: Section<'_>) {
        if self.relay.delivery == Delivery::ExactlyOnce {
            let why = "\"exactly_once\" keeps the position in Kafka, so it needs Kafka: set kafka.brokers";
            relay.problem("delivery", why);
        }
        let mut followed: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, index) in &self.indexes {
            if let Some(other) = followed.insert(&index.topic, name) {
                let topic = &index.topic;
                relay.problem(
                    "bus",
                    format!(
                        "indexes {other} and {name} both follow topic {topic:?}; that needs Kafka: set kafka.brokers"
                    ),
                );
            }
        }
        for topic in self.relay.topics.iter().flatten().filter(|topic| !followed.contains_key(topic.as_str())) {
            relay.problem(
                "topics",
                format!("no index follows {topic:?}, and without Kafka there is nowhere else to put it"),
            );
        }
    }
}

fn read_file(path: Option<&Path>) -> Result<Option<(PathBuf, String)>, Problems> {
    let named = path.is_some();
    let path = path.unwrap_or(Path::new(DEFAULT_PATH));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if error.kind() == ErrorKind::NotFound && !named => Ok(None),
        Err(error) => {
            let mend = if error.kind() == ErrorKind::NotFound { "; `sync-runner init` writes one" } else { "" };
            Err(Problems::one("", format!("--config {}: {error}{mend}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests;
