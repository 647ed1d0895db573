//! A database, a topic and an index that nobody else has, and the configuration that names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sync_core::adapter::postgres::{Postgres, PostgresConfig};
use sync_core::query::FieldNames;
use sync_core::{Error, ErrorKind};
use tempfile::TempDir;

use super::private_postgres::PrivatePostgres;
use crate::config::{Bus, Config, Index, Searchable, Sink, SourceFile, SyncedAt};
use crate::wire::Wire;

/// The index's name in the configuration.
pub(super) const INDEX: &str = "jobs";

const SCHEMA: &str = include_str!("../../../reference/schema.sql");
const PROJECTION: &str = include_str!("../../../reference/projection.sql");
const MAPPING: &str = include_str!("../../../reference/mapping.json");
const TOPIC: &str = "job-es-sync";

/// Connections that write at the same time, and one for the long transaction.
const CONNECTIONS: usize = super::workload::WRITERS + 1;

/// Where the demo plays.
#[derive(Debug)]
pub(super) struct Scene {
    /// The configured servers with everything else the demo's own.
    pub(super) config: Config,
    /// What the application connects with.
    pub(super) database: Postgres,
    /// Database, topic and alias.
    pub(super) name: String,
    index: Index,
    private: Option<PrivatePostgres>,
    /// What is only the demo's; goes with it.
    _files: TempDir,
}

/// What of a job can be searched.
fn searchable() -> Result<Searchable, Error> {
    let names = FieldNames::new("id")
        .text(["title^3", "description"])
        .fields(["status", "priority", "tags[]", "created_at", "workspace.status", "workspace.host"])
        .order("-created_at");
    Searchable::new(MAPPING, &names, "simple".to_owned())
}

impl Scene {
    /// Creates the database, with the outbox and the reference domain in it; where none is named, on a server of its own.
    ///
    /// # Errors
    /// What PostgreSQL says; `Configuration` names the privilege to create databases.
    pub(super) async fn set(servers: &Config) -> Result<Self, Error> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
        let name = format!("sync-demo-{seconds}-{}", std::process::id());
        let making = |error| {
            let what = "making a directory for the demo; set TMPDIR to where that can be done";
            Error::new(ErrorKind::Configuration, what).with_source(error)
        };
        let files = tempfile::Builder::new().prefix("sync-demo-").tempdir().map_err(making)?;
        let mut config = servers.clone();
        let private = if servers.postgres.is_named {
            None
        } else {
            let directory = files.path().join("postgres");
            std::fs::create_dir(&directory).map_err(making)?;
            let private = PrivatePostgres::start(&directory).await?;
            config.postgres.url = private.url()?;
            Some(private)
        };
        match Self::furnish(&mut config, &name, files.path()).await {
            Ok((database, index)) => Ok(Self { config, database, name, index, private, _files: files }),
            Err(error) => {
                // Its files are not to go while it writes to them.
                if let Some(private) = private {
                    private.stop().await;
                }
                Err(error)
            }
        }
    }

    /// Makes the database on this server, and has the configuration name it and the index.
    async fn furnish(config: &mut Config, name: &str, files: &Path) -> Result<(Postgres, Index), Error> {
        let creating = |error| {
            let what = "postgres.url: the demo makes a database of its own, for which the role needs CREATEDB";
            Error::new(ErrorKind::Configuration, what).with_source(error)
        };
        let client = Wire::new(config)?.database().client().await?;
        client.batch_execute(&format!("create database \"{name}\"")).await.map_err(creating)?;

        let index = Index {
            topic: name.to_owned(),
            alias: name.to_owned(),
            projection: SourceFile { path: PathBuf::from("examples/jobs/projection.sql"), text: PROJECTION.to_owned() },
            mapping: Some(SourceFile { path: PathBuf::from("examples/jobs/mapping.json"), text: MAPPING.to_owned() }),
            synced_at: Some(SyncedAt {
                table: "public.jobs".to_owned(),
                key: "id".to_owned(),
                column: "es_synced_at".to_owned(),
            }),
            search: Some(searchable()?),
        };
        config.postgres.url = config.postgres.url.with_database(name);
        config.local_index.directory = files.join("indexes");
        config.relay.topics = None;
        name.clone_into(&mut config.kafka.group);
        config.indexes = BTreeMap::from([(INDEX.to_owned(), index.clone())]);

        let mut settings = PostgresConfig::new(config.postgres.url.expose())
            .pool_size(CONNECTIONS)
            .connect_timeout(config.postgres.connect_timeout)
            .statement_timeout(config.postgres.statement_timeout);
        settings.password = config.postgres.password.as_ref().map(|password| password.expose().to_owned());
        settings.ca_file.clone_from(&config.postgres.ca_file);
        let database = Postgres::new(&settings)?;
        database.migrate().await?;
        let client = database.client().await?;
        client
            .batch_execute(&SCHEMA.replace(TOPIC, name))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "creating the reference domain").with_source(error))?;
        drop(client);
        Ok((database, index))
    }

    /// The index the demo fills.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Ends the server that is only the demo's.
    pub(super) async fn close(self) {
        drop(self.database);
        if let Some(private) = self.private {
            private.stop().await;
        }
    }

    /// PostgreSQL is the demo's own, too.
    pub(super) const fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// What is left of it on servers.
    pub(super) fn stays(&self) -> Vec<&'static str> {
        let database = self.private.is_none().then_some("database");
        let topic = (self.bus() == Bus::Kafka).then_some("topic");
        let index = (self.config.indexer.sink == Sink::Elasticsearch).then_some("index");
        [database, topic, index].into_iter().flatten().collect()
    }

    /// What carries the messages.
    pub(super) fn bus(&self) -> Bus {
        self.config.relay.bus
    }
}
