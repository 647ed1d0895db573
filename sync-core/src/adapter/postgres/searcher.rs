//! Searching the rows a projection makes documents of.

mod columns;
mod count;
mod indexes;
mod order;
mod page;
mod rows;
mod servers;
mod statement;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use self::columns::SearchColumns;
pub use self::indexes::{SearchIndex, SearchIndexes};
use self::page::PageQuery;
use self::rows::SearchedRows;
use self::servers::{Server, Servers};
use super::connect::{PostgresConfig, Timed};
use super::error::from_postgres;
use super::projection::ProjectionConfig;
use crate::error::{Error, ErrorKind};
use crate::port::{AwaitedWrite, Found, Searcher};
use crate::query::{Fields, Query, Wrote};

/// In answers, cursors and metrics.
const NAME: &str = "postgres";

/// What is searched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresSearcherConfig {
    /// The index's name in the configuration, for error messages.
    pub index: String,
    /// The topic whose keys it projects.
    pub topic: String,
    /// The projection, with a column more for each field that is searched, of the field's name.
    pub sql: String,
    /// The text search configuration words are read by, `simple` for the standard analyzer of Elasticsearch; that one
    /// unless said.
    pub language: String,
    /// How far a replica may be behind the primary to be searched before it; 30 seconds unless said.
    pub max_lag: Duration,
}

impl PostgresSearcherConfig {
    /// The rows of this index, topic and projection; words are read by `simple`, and replicas asked that are no more than 30 seconds
    /// behind.
    #[must_use]
    pub fn new(index: impl Into<String>, topic: impl Into<String>, sql: impl Into<String>) -> Self {
        Self {
            index: index.into(),
            topic: topic.into(),
            sql: sql.into(),
            language: "simple".to_owned(),
            max_lag: Duration::from_secs(30),
        }
    }

    /// The rows of a projection that has those columns.
    #[must_use]
    pub fn of(projection: &ProjectionConfig) -> Self {
        Self::new(&projection.index, &projection.topic, &projection.sql)
    }
}

setters! {
    PostgresSearcherConfig {
        language: into String,
        max_lag: Duration,
    }
}

/// Searches the database: a replica that is close to the primary, each search another one; the primary, where none is; then
/// whoever answers. With replicas, the servers are looked at once a second from the first search on. What has to have been
/// seen is searched in the primary.
#[derive(Debug)]
pub struct PostgresSearcher {
    servers: Servers,
    table: SearchedRows,
    fields: Arc<Fields>,
    columns: RwLock<Option<Arc<SearchColumns>>>,
}

impl PostgresSearcher {
    /// Reads the settings; reaches out to nobody. The `statement_timeout` of each server is how long a search may take there.
    ///
    /// It has a pool of its own for each server, of that server's `pool_size`, and with replicas one connection more to each,
    /// the primary included, which looks how far it has come. They are not those of a [`Postgres`](super::Postgres), and no
    /// other searcher's: with a `pool_size` of 8, the searchers of three indexes open up to 24 connections to a primary alone,
    /// and with two replicas up to 27 to each of the three servers.
    ///
    /// # Errors
    /// As for [`Postgres::new`](super::Postgres::new).
    pub fn new(
        primary: &PostgresConfig,
        replicas: &[PostgresConfig],
        config: &PostgresSearcherConfig,
        fields: Arc<Fields>,
    ) -> Result<Self, Error> {
        let table = SearchedRows::new(&config.index, &config.sql, &config.topic, &config.language);
        let servers = Servers::new(primary, replicas, config.max_lag)?;
        Ok(Self { servers, table, fields, columns: RwLock::default() })
    }

    /// Tries the replicas, in their order: of each why it cannot be searched, if it cannot.
    pub async fn check_replicas(&self) -> Vec<Result<(), Error>> {
        self.servers.check().await.into_iter().map(|seen| seen.map(drop)).collect()
    }

    async fn columns(&self, client: &Timed) -> Result<Arc<SearchColumns>, Error> {
        let known = self.columns.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(columns) = known {
            return Ok(columns);
        }
        let columns = Arc::new(SearchColumns::read(&self.table, &self.fields, client).await?);
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&columns));
        Ok(columns)
    }

    async fn search_at(&self, server: &Server, query: &Query) -> Result<Found, Error> {
        let client = server.database.timed().await?;
        self.search_by(&client, query).await
    }

    async fn search_by(&self, client: &Timed, query: &Query) -> Result<Found, Error> {
        let columns = self.columns(client).await?;
        let after = query.begins_after(NAME);
        let page = PageQuery { client, table: &self.table, columns: &columns, fields: &self.fields, query, after };
        let found = page.run().await;
        if found.as_ref().is_err_and(|error| error.kind() == ErrorKind::Configuration) {
            // The tables may have been altered since they were looked at.
            *self.columns.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        found
    }

    /// On the primary, which has whatever was written: a server that has become a standby is not asked.
    async fn search_at_primary(&self, query: &Query) -> Result<Found, Error> {
        let doing = "searching the primary";
        let client = self.servers.primary().database.timed().await?;
        let is_standby = client.query_one("select pg_is_in_recovery()", &[]).await;
        if is_standby.map_err(|error| from_postgres(doing, error))?.get(0) {
            return Err(Error::new(ErrorKind::Unavailable, format!("{doing}: postgres.url: it is a standby")));
        }
        self.search_by(&client, query).await
    }

    /// Where these writes have to have been seen.
    async fn search_after_writes(&self, query: &Query) -> Result<Found, Error> {
        let primary = self.servers.primary();
        let error = match primary.at(self.search_at_primary(query)).await {
            Err(error) if !is_final(&error) => error,
            answered => return answered,
        };
        let versioned = |wrote: &Wrote| Some((wrote.key.clone(), wrote.version?));
        // Without its version, only the primary could say what was written.
        let Some(versions) = query.wrote.iter().map(versioned).collect::<Option<Vec<_>>>() else { return Err(error) };
        for replica in self.servers.replicas() {
            if replica.at(self.has_at(replica, &versions)).await.is_ok_and(|has| has)
                && let Ok(found) = replica.at(self.search_at(replica, query)).await
            {
                return Ok(found);
            }
        }
        Err(error)
    }

    /// Whether a server has these versions of these keys, or later ones, without their epoch.
    async fn has_at(&self, server: &Server, wanted: &[(String, u64)]) -> Result<bool, Error> {
        let versions = self.versions_at(server, wanted.iter().map(|(key, _)| key.as_str()).collect()).await?;
        Ok(wanted.iter().all(|(key, version)| versions.get(key).is_some_and(|had| had >= version)))
    }

    async fn versions_at(&self, server: &Server, keys: Vec<&str>) -> Result<HashMap<String, u64>, Error> {
        let client = server.database.timed().await?;
        let topic = &self.table.quoted_topic;
        let sql = format!("select key, version from outbox.versions where topic = {topic} and key = any ($1)");
        let failed = |error| from_postgres("looking for what was written", error);
        let rows = client.query(sql.as_str(), &[&keys]).await.map_err(failed)?;
        Ok(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect())
    }
}

/// Whether another server would say the same.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::TooLarge | ErrorKind::Contract)
}

#[async_trait]
impl Searcher for PostgresSearcher {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn search(&self, query: &Query) -> Result<Found, Error> {
        query.check(&self.fields)?;
        if !query.wrote.is_empty() {
            return self.search_after_writes(query).await;
        }
        let mut failed = None;
        for server in self.servers.in_turn() {
            match server.at(self.search_at(server, query)).await {
                Err(error) if !is_final(&error) => failed = Some(error),
                answered => return answered,
            }
        }
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Internal, "there is no server to search")))
    }

    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error> {
        let primary = self.servers.primary();
        let keys = writes.iter().map(|write| write.key.as_str()).collect();
        let versions = primary.at(self.versions_at(primary, keys)).await?;
        let is_seen = |write: &AwaitedWrite| match versions.get(&write.key) {
            Some(version) => *version >= write.version.local(),
            // Its versions may have been purged.
            None => write.is_deletion,
        };
        Ok(writes.iter().all(is_seen))
    }
}
