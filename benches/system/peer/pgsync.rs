//! `PGSync`, reading the write-ahead log, with the nginx that makes this Elasticsearch one it talks to.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tokio_postgres::Client;

use super::{filled, free_port, installed, until_read};
use crate::Outcome;
use crate::figures::Figures;
use crate::program::Program;
use crate::stage::Stage;

/// How long it may take to fill an index.
const BOUND: Duration = Duration::from_secs(900);

const ENVIRONMENT: &str = include_str!("../../peers/pgsync/environment");
const NGINX: &str = include_str!("../../peers/pgsync/nginx.conf");
const SCHEMA: &str = include_str!("../../peers/pgsync/schema.json");

/// It, before it has read anything, and the nginx it needs.
pub(crate) struct Prepared {
    nginx: Program,
    directory: PathBuf,
    environment: String,
    /// The name it gives a slot of its own.
    slot: String,
}

impl Prepared {
    /// Sees to everything but the index.
    pub(crate) async fn new(stage: &Stage, client: &Client, index: &str) -> Outcome<Self> {
        let directory = stage.files().join(format!("pgsync-{:08x}", rand::random::<u32>()));
        fs::create_dir(&directory)?;
        let here = directory.to_string_lossy().into_owned();
        let (server, nginx_port, redis_port) = (stage.server()?, free_port()?, free_port()?);
        let elasticsearch = reqwest::Url::parse(&stage.elasticsearch)?;
        let elasticsearch_port = elasticsearch.port_or_known_default().unwrap_or(9200).to_string();
        let values = [
            ("directory", here.as_str()),
            ("postgres_host", &server.host),
            ("postgres_port", &server.port),
            ("postgres_user", &server.user),
            ("postgres_password", &server.password),
            ("database", &stage.name),
            ("index", index),
            ("refresh_interval", "1s"),
            ("elasticsearch_host", elasticsearch.host_str().unwrap_or("127.0.0.1")),
            ("elasticsearch_port", &elasticsearch_port),
            ("nginx_port", &nginx_port),
            // Not used when it reads the log; it wants an address all the same.
            ("redis_port", &redis_port),
        ];
        fs::write(directory.join("nginx.conf"), filled(NGINX, &values))?;
        fs::write(directory.join("schema.json"), filled(SCHEMA, &values))?;
        let environment = filled(ENVIRONMENT, &values);
        let mut command = Command::new("nginx");
        command.args(["-p", &here, "-c", &format!("{here}/nginx.conf"), "-e", &format!("{here}/nginx.start.log")]);
        let nginx = Program::start("nginx", command)?;
        let slot = format!("{}_{index}", stage.name);
        let make = "select pg_create_logical_replication_slot($1::text::name, 'test_decoding')";
        client.execute(make, &[&slot]).await?;
        Ok(Self { nginx, directory, environment, slot })
    }

    fn pgsync(&self, arguments: &[&str]) -> Outcome<Command> {
        let programs = installed("SYNC_BENCH_PGSYNC")?;
        let mut command = Command::new(format!("{programs}/bin/python"));
        command.arg(format!("{programs}/bin/pgsync")).args(arguments).current_dir(&self.directory);
        let settings = self.environment.lines().filter(|line| !line.starts_with('#'));
        command.envs(settings.filter_map(|line| line.split_once('=')));
        Ok(command)
    }

    /// Fills the index from the table of so many rows.
    pub(crate) async fn fill(&self, rows: u64) -> Outcome<Figures> {
        Program::start("PGSync", self.pgsync(&[])?)?.until_done(rows, BOUND).await
    }

    pub(crate) async fn end(self) -> Outcome<()> {
        self.nginx.end().await
    }
}

/// It, and what it needs.
pub(crate) struct PgSync {
    nginx: Program,
    sync: Program,
}

impl PgSync {
    /// Fills the index from the table of so many rows, then follows the table.
    pub(crate) async fn start(stage: &Stage, client: &Client, index: &str, rows: u64) -> Outcome<Self> {
        let prepared = Prepared::new(stage, client, index).await?;
        prepared.fill(rows).await?;
        let mut sync = Program::start("PGSync", prepared.pgsync(&["--wal"])?)?;
        until_read(client, &prepared.slot, &mut sync).await?;
        Ok(Self { nginx: prepared.nginx, sync })
    }

    /// The process that follows the table.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.sync
    }

    /// What both processes use.
    pub(crate) fn usage(&self, figures: Figures) -> Outcome<Figures> {
        self.nginx.usage(self.sync.usage(figures)?)
    }

    pub(crate) async fn end(self) -> Outcome<()> {
        self.sync.end().await?;
        self.nginx.end().await
    }
}
