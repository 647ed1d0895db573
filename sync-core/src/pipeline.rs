//! All of it in one process of a service: PostgreSQL to its indexes, without a broker.
//!
//! ```text
//!  outbox ──▶ relay ──▶ direct bus ──▶ an indexer for each index, and for each of its retry topics
//! ```
//!
//! This puts together what [`relay`](crate::relay), [`indexer`](crate::indexer), [`repair`](crate::repair) and
//! [`alerts`](crate::alerts) are made of, with
//! the defaults that `sync-runner` has. Whoever wants another bus, or another source, puts them together as this does.

mod builder;
mod repairs;
mod run;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::builder::PipelineBuilder;
use self::builder::PipelineIndex;
use crate::adapter::postgres::{Postgres, PostgresDeadLetters, PostgresSource, this_process};
use crate::alerts::Alerts;
use crate::error::Error;
use crate::indexer::{Indexer, IndexerProgress};
use crate::port::{Source, SourceLag};
use crate::relay::{Relay, RelayProgress};

/// One database's way into its indexes. Several processes may run the same: one of them is at work, the others stand by.
///
/// Errors name what is wrong as the settings of `sync-runner` are called: `postgres.url` is what
/// [`PostgresConfig`](crate::adapter::postgres::PostgresConfig) was given, `indexes.books.projection` the SQL of the index
/// `books`. A mapping that has to be another one is what `sync-runner reindex` is for; here, [`repair`](crate::repair) has its
/// parts.
#[derive(Debug)]
pub struct Pipeline {
    database: Postgres,
    source: Arc<PostgresSource>,
    relay: Relay,
    indexes: Vec<PipelineIndex>,
    /// With the index each is for.
    indexers: Vec<(String, Indexer)>,
    letters: Arc<PostgresDeadLetters>,
    alerts: Option<Alerts>,
}

/// A holder of leases in this process, beside others of it.
fn a_holder() -> String {
    format!("{}/{:04x}", this_process(), rand::random::<u16>())
}

impl Pipeline {
    /// Reads the outbox of this database. At least one [`index`](PipelineBuilder::index) has to be named.
    pub fn builder(database: &Postgres) -> PipelineBuilder {
        PipelineBuilder::new(database.clone())
    }

    /// Creates or updates the schema `outbox`; returns the names of the migrations that were applied. Processes that do so at
    /// once wait for each other. Dropped half-way, the migration at work may or may not have been applied; call it again. Needs the right to create a schema; where a deployment does this
    /// (`sync-runner migrate`), leave it out.
    ///
    /// # Errors
    /// `Denied` when the role may not; `Configuration` when the schema is newer than this library; `Unavailable`.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.database.migrate().await
    }

    /// Runs until `shutdown`, not twice at a time, through outages of the database and of the indexes; beside other processes that run the same, it
    /// stands by. Await it beside your server, and end both when one ends: after an error nothing is indexed any more. On
    /// shutdown it finishes what is in flight, within some seconds, and gives back what it holds. Dropping it is a crash: nothing
    /// is lost, what was in flight comes again.
    ///
    /// # Errors
    /// Only what a person has to mend: `Denied` (credentials, privileges), `Configuration` (a schema that is missing, a mapping
    /// or a projection that cannot be), `History` (a database that was restored waits for a decision), and what no healthy
    /// system answers: `Contract`, `Refused`, `Internal`. Everything has stopped then, nothing is lost, and it may be run again.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), Error> {
        run::all(self, &shutdown).await
    }

    /// Counters of what was published, up to date while it runs.
    #[must_use]
    pub fn relay(&self) -> RelayProgress {
        self.relay.progress()
    }

    /// Counters of what went into an index, retries included in those of their own; none of an index that was not named.
    pub fn indexers(&self, index: &str) -> impl Iterator<Item = IndexerProgress> {
        self.indexers.iter().filter(move |(name, _)| name == index).map(|(_, indexer)| indexer.progress())
    }

    /// What is committed and not in the indexes yet: an event counts until every index that follows its topic has it.
    ///
    /// # Errors
    /// `Configuration` before the first run, when there is nothing to lag behind yet. `Unavailable`, `Denied`.
    pub async fn lag(&self) -> Result<SourceLag, Error> {
        self.source.lag().await
    }
}
