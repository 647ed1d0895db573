//! Where a benchmark plays: a database, topics, indexes and files of its own, taken away afterwards.

use std::env;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use sync_core::adapter::postgres::{Postgres, PostgresConfig, migrate};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use crate::{Outcome, topic};

/// A database with the outbox in it, on the servers of the environment.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Of the database, and the beginning of what topics and indexes are called.
    pub(crate) name: String,
    /// The database's URL.
    pub(crate) url: String,
    /// Kafka's brokers.
    pub(crate) brokers: String,
    /// Elasticsearch.
    pub(crate) elasticsearch: String,
    server: String,
    files: TempDir,
}

impl Stage {
    /// Plays `contest` on a stage of its own, and clears it away however that ended.
    pub(crate) async fn with<T>(bench: &str, contest: impl AsyncFnOnce(&Self) -> Outcome<T>) -> Outcome<T> {
        let stage = Self::new(bench).await?;
        let came = contest(&stage).await;
        match (came, stage.end().await) {
            (came, Ok(())) => came,
            (Ok(_), Err(left)) => Err(left),
            (Err(failure), Err(left)) => {
                eprintln!("sync-bench: something of the benchmark is left on the servers: {left}");
                Err(failure)
            }
        }
    }

    async fn new(bench: &str) -> Outcome<Self> {
        let named =
            |variable: &str| env::var(variable).map_err(|_| format!("{variable} is not set; see scripts/bench"));
        let server = named("SYNC__POSTGRES__URL")?;
        let name = format!("bench_{bench}_{:08x}", rand::random::<u32>());
        let (base, _) = server.rsplit_once('/').ok_or("SYNC__POSTGRES__URL names no database")?;
        let stage = Self {
            url: format!("{base}/{name}"),
            brokers: named("SYNC__KAFKA__BROKERS")?,
            elasticsearch: named("SYNC__ELASTICSEARCH__URL")?,
            files: tempfile::Builder::new().prefix("sync-bench-").tempdir()?,
            name,
            server,
        };
        let server = connect(&stage.server).await?;
        server.batch_execute(&format!("create database {}", stage.name)).await?;
        let database = Postgres::new(&PostgresConfig::new(&stage.url))?;
        let mut client = database.client().await?;
        migrate(&mut client).await?;
        Ok(stage)
    }

    /// A connection to the database.
    pub(crate) async fn database(&self) -> Outcome<Client> {
        connect(&self.url).await
    }

    /// The server as programs want it that take no URL.
    pub(crate) fn server(&self) -> Outcome<Server> {
        let config: Config = self.url.parse()?;
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(_)) | None => return Err("SYNC__POSTGRES__URL names no host".into()),
        };
        Ok(Server {
            host,
            port: config.get_ports().first().unwrap_or(&5432).to_string(),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            password: String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned(),
        })
    }

    /// A folder for files, gone at the end.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// Takes the database, the topics and the indexes away. Whoever is still connected is thrown out.
    async fn end(self) -> Outcome<()> {
        let server = connect(&self.server).await?;
        // A reader that has just ended still has its slot for a moment.
        for _ in 0..50 {
            let left = server
                .query(
                    "select case when not active then pg_drop_replication_slot(slot_name) end
                       from pg_replication_slots where database = $1::text::name",
                    &[&self.name],
                )
                .await?;
            if left.is_empty() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        server.batch_execute(&format!("drop database {} with (force)", self.name)).await?;
        topic::delete_all(&self.brokers, &self.name).await?;
        self.forget_indexes(&self.name).await
    }

    /// Deletes the indexes whose names begin like this, with the template the runner makes for one.
    pub(crate) async fn forget_indexes(&self, beginning: &str) -> Outcome<()> {
        #[derive(Deserialize)]
        struct Named {
            index: String,
        }

        let http = reqwest::Client::new();
        let list = format!("{}/_cat/indices/{beginning}*?h=index&format=json", self.elasticsearch);
        let listed = http.get(list).send().await?.error_for_status()?.bytes().await?;
        let indexes: Vec<Named> = serde_json::from_slice(&listed)?;
        let indexes = indexes.into_iter().map(|named| named.index);
        for path in indexes.chain([format!("_index_template/sync-{beginning}*")]) {
            http.delete(format!("{}/{path}", self.elasticsearch)).send().await?;
        }
        Ok(())
    }
}

/// Where PostgreSQL is, and who is let in.
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A connection that lives as long as its client.
async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
