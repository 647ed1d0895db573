//! What one campaign uses of the servers: a database, topics and indexes of its own, and the processes between them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::adapter::postgres::{PostgresProjection, ProjectionConfig, migrate};
use sync_core::testkit::ElasticsearchScratch;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::TABLES;
use super::pair::Lost;
use super::plan::{Mode, Process, Wire};
use super::servers::Servers;
use crate::support::postgres::{connect, database};
use crate::support::runner::{Runner, command, nothing_is_behind, output_of};
use crate::support::servers::unique;

/// Two tables with a topic and an index each; one has rows that are part of another's document.
const SCHEMA: &str = include_str!("schema.sql");

const MAPPING: &str = r#"{
  "settings": { "index": { "number_of_shards": 1, "number_of_replicas": {replicas}, "refresh_interval": "1s" } },
  "mappings": { "dynamic": "strict", "properties": {
    "title": { "type": "keyword" }, "revision": { "type": "integer" }, "parts": { "type": "keyword" } } }
}"#;

/// A database every server has.
const SYSTEM: &str = "postgres";

/// How long everything may take to settle once all servers are up.
const BOUND: Duration = Duration::from_secs(180);

/// A topic, the index it feeds, and the table both are about.
pub struct Stream {
    pub table: &'static str,
    pub topic: String,
    pub alias: String,
    pub projection: Arc<PostgresProjection>,
    pub sink: ElasticsearchSink,
}

pub struct Site<'servers> {
    pub servers: &'servers Servers,
    pub mode: Mode,
    /// Of the database.
    name: String,
    /// Of the database, directly.
    pub url: String,
    pub streams: Vec<Stream>,
    /// Relays, or without a broker those who are both.
    pub relays: Vec<Arc<Mutex<Runner>>>,
    pub indexers: Vec<Arc<Mutex<Runner>>>,
    /// What promotions took away.
    lost: Mutex<Lost>,
    directory: TempDir,
    _scratch: ElasticsearchScratch,
}

fn projection(table: &str) -> String {
    let parts = match table {
        "items" => "(select coalesce(jsonb_agg(name order by n), '[]') from parts where parts.item_id = items.id)",
        _ => "'[]'::jsonb",
    };
    format!(
        "select id as key,
                jsonb_build_object(case when poisoned then 'no_such_field' else 'title' end, title,
                                   'revision', revision, 'parts', {parts}) as document
           from {table}"
    )
}

fn mapping(servers: &Servers) -> String {
    MAPPING.replace("{replicas}", &servers.replicas().to_string())
}

fn sink(servers: &Servers, urls: Vec<String>, alias: &str) -> ElasticsearchSink {
    let cluster = ElasticsearchConfig::new(urls);
    let index = IndexConfig::new("jobs", mapping(servers)).alias(alias);
    ElasticsearchSink::new(&cluster, index).unwrap()
}

impl<'servers> Site<'servers> {
    /// With processes that do not run yet: as many relays, and as many indexers where there is a broker.
    pub async fn new(servers: &'servers Servers, mode: Mode, relays: usize, indexers: usize) -> Self {
        let name = unique("campaign");
        let server = connect(&servers.database(SYSTEM)).await;
        server.batch_execute(&format!("create database \"{name}\"")).await.unwrap();
        let url = servers.database(&name);
        let scratch = ElasticsearchScratch::at(&servers.nodes()[0]);
        let stream = |table: &'static str| {
            let (topic, alias) = (format!("{name}-{table}"), scratch.name(table));
            let config = ProjectionConfig::new(table, &topic, projection(table));
            let sink = sink(servers, servers.nodes(), &alias);
            let projection = Arc::new(PostgresProjection::new(database(&url), config));
            Stream { table, topic, alias, projection, sink }
        };
        let streams: Vec<_> = TABLES.into_iter().map(stream).collect();
        let mut client = connect(&url).await;
        migrate(&mut client).await.unwrap();
        client.batch_execute(SCHEMA).await.unwrap();
        for Stream { table, topic, .. } in &streams {
            client.execute("insert into topics (name, topic) values ($1, $2)", &[table, topic]).await.unwrap();
        }
        client.batch_execute("select watch_all()").await.unwrap();
        let directory = TempDir::new().unwrap();
        let mut site = Self {
            servers,
            mode,
            name,
            url,
            streams,
            relays: Vec::new(),
            indexers: Vec::new(),
            lost: Mutex::default(),
            directory,
            _scratch: scratch,
        };
        site.configure();
        let roles = match mode {
            Mode::AtLeastOnce | Mode::ExactlyOnce => "relay",
            Mode::Direct => "relay,indexer",
        };
        site.relays = (0..relays).map(|number| site.runner("relay", number, roles)).collect();
        if mode.has_broker() {
            site.indexers = (0..indexers).map(|number| site.runner("indexer", number, "indexer")).collect();
        }
        site
    }

    fn configure(&self) {
        let servers = self.servers;
        let write = |file: &str, text: &str| fs::write(self.directory.path().join(file), text).unwrap();
        for stream in &self.streams {
            write(&format!("{}.sql", stream.table), &projection(stream.table));
        }
        write("mapping.json", &mapping(servers));
        for number in 0..2 {
            let index = servers.nodes_by_proxy(number);
            for (role, to_postgres, to_kafka) in [
                ("relay", Wire::RelayToPostgres, Wire::RelayToKafka),
                ("indexer", Wire::IndexerToPostgres, Wire::IndexerToKafka),
            ] {
                let database = servers.database_by(to_postgres, number, &self.name);
                let text = self.configuration(&database, &servers.brokers(to_kafka, number), &index);
                write(&format!("{role}-{number}.toml"), &text);
            }
        }
        write("status.toml", &self.configuration(&self.url, &servers.kafka, &servers.nodes()));
    }

    /// What dies is missed soon, what does not answer is given up soon.
    fn configuration(&self, database: &str, brokers: &str, index: &[String]) -> String {
        let name = &self.name;
        let (bus, delivery) = match self.mode {
            Mode::AtLeastOnce => ("kafka", "at_least_once"),
            Mode::ExactlyOnce => ("kafka", "exactly_once"),
            Mode::Direct => ("direct", "at_least_once"),
        };
        // Where a bulk is held back on purpose, nobody is to send it again meanwhile.
        let patience = if self.servers.can_be_struck() { "3s" } else { "60s" };
        let copies = self.servers.copies();
        let mut text = format!(
            "[postgres]\nurl = {database:?}\nconnect_timeout = \"2s\"\n\
             [relay]\nbus = {bus:?}\ndelivery = {delivery:?}\nlease = \"2s\"\npositions_topic = \"{name}-positions\"\n\
             [kafka]\nbrokers = {brokers:?}\ngroup = {name:?}\n\
             [kafka.topics]\npartitions = 4\nreplication = {copies}\n\
             [kafka.properties]\n\"session.timeout.ms\" = 6000\n\"heartbeat.interval.ms\" = 1000\n\
             \"socket.timeout.ms\" = 3000\n\"transaction.timeout.ms\" = 8000\n\"reconnect.backoff.max.ms\" = 1000\n\
             [elasticsearch]\nurl = {index:?}\nrequest_timeout = {patience:?}\n\
             [log]\nfilter = \"info,sync_core::relay=debug\"\n"
        );
        for Stream { table, topic, alias, .. } in &self.streams {
            text += &format!(
                "[indexes.{table}]\ntopic = {topic:?}\nalias = {alias:?}\nprojection = \"{table}.sql\"\n\
                 mapping = \"mapping.json\"\n"
            );
        }
        text
    }

    fn runner(&self, name: &str, number: usize, roles: &str) -> Arc<Mutex<Runner>> {
        let file = |ending: &str| self.directory.path().join(format!("{name}-{number}.{ending}"));
        let command = command(&file("toml"), &["run", "--roles", roles]);
        let log = file("log");
        Arc::new(Mutex::new(Runner::new(command, log)))
    }

    pub async fn start(&self) {
        for runner in self.relays.iter().chain(&self.indexers) {
            runner.lock().await.start();
        }
    }

    /// Ends all processes in order.
    pub async fn stop(&self) {
        for runner in self.relays.iter().chain(&self.indexers) {
            let ended = runner.lock().await.stop().await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
    }

    /// What an indexer writes with, by way of the first one's proxies.
    pub fn sink(&self, stream: &Stream) -> ElasticsearchSink {
        sink(self.servers, self.servers.nodes_by_proxy(0), &stream.alias)
    }

    /// A connection of the campaign's own.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Which relay holds the lease; the first when nobody does, or the database does not say.
    pub async fn leading(&self) -> usize {
        let holder = async {
            let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            let sql = "select lease_holder from outbox.subscriptions where lease_until > clock_timestamp()";
            client.query_opt(sql, &[]).await.ok()??.get::<_, Option<String>>(0)
        };
        let holder = timeout(Duration::from_secs(1), holder).await.ok().flatten().unwrap_or_default();
        for (number, relay) in self.relays.iter().enumerate() {
            // One that is being struck need not be asked.
            if relay.try_lock().is_ok_and(|relay| relay.is_named_in(&holder)) {
                return number;
            }
        }
        0
    }

    pub async fn process(&self, process: Process) -> Arc<Mutex<Runner>> {
        match process {
            Process::LeadingRelay => Arc::clone(&self.relays[self.leading().await]),
            Process::OtherRelay => Arc::clone(&self.relays[(self.leading().await + 1) % self.relays.len()]),
            Process::Indexer(number) => Arc::clone(&self.indexers[number]),
        }
    }

    /// Lets PostgreSQL's standby take over, as far as it has come. Of each key of which the index may hold what only lost commits said there is
    /// an event at once, when their versions are being given out again: a comparison with the index would find them.
    pub async fn promote(&self) {
        let lost = self.servers.take_over(&self.name).await;
        for Stream { topic, .. } in &self.streams {
            let touch = async {
                while let Err(error) = self.emit_all(topic, &lost.keys(topic)).await {
                    println!("campaign: once more, after {error:?}");
                    sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(BOUND, touch).await.expect("the new primary takes writes");
        }
        self.lost.lock().await.add(lost);
    }

    /// Fails when a writer got in the way.
    async fn emit_all(&self, topic: &str, keys: &[String]) -> Result<(), tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.execute("select outbox.emit_many($1, $2)", &[&topic, &keys]).await.map(drop)
    }

    /// What promotions took away.
    pub async fn lost(&self) -> Lost {
        self.lost.lock().await.clone()
    }

    /// Waits until everything that was committed is published and applied.
    pub async fn until_settled(&self) {
        let mut status = serde_json::Value::Null;
        let settled = async {
            loop {
                status = output_of(command(&self.directory.path().join("status.toml"), &["status", "--json"])).await;
                if nothing_is_behind(&status) {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        if timeout(BOUND, settled).await.is_err() {
            panic!("all is up, and something stays behind: {status:#}");
        }
    }
}

impl Site<'_> {
    /// Takes everything away again, for campaigns without end on the same servers.
    pub async fn remove(self) {
        let brokers = &self.servers.kafka;
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let name = self.name.as_str();
        let metadata = admin.inner().fetch_metadata(None, BOUND).unwrap();
        let topics: Vec<_> = metadata.topics().iter().map(|topic| topic.name()).collect();
        let ours: Vec<_> = topics.into_iter().filter(|topic| topic.starts_with(name)).collect();
        if !ours.is_empty() {
            admin.delete_topics(&ours, &AdminOptions::new()).await.unwrap();
        }
        // Connections of processes that were killed may still be there.
        let drop = format!("drop database \"{name}\" with (force)");
        connect(&self.servers.database(SYSTEM)).await.batch_execute(&drop).await.unwrap();
    }
}
