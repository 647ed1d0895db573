//! Searching the rows a projection makes documents of.

mod columns;
mod indexes;
mod page;
mod servers;
mod statement;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use self::columns::Columns;
pub use self::indexes::{SearchIndex, SearchIndexes};
use self::page::Search;
use self::servers::{Server, Servers};
use self::table::Table;
use super::connect::{PostgresConfig, Timed};
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{Awaited, Found, Searcher};
use crate::query::{Fields, Query, Wrote};

/// In answers, cursors and metrics.
const NAME: &str = "postgres";

/// What is searched.
#[derive(Clone, Debug)]
pub struct SearchedConfig {
    /// The index's name in the configuration, for error messages.
    pub index: String,
    /// The topic whose keys it projects.
    pub topic: String,
    /// The projection, with a column more for each field that is searched, of the field's name.
    pub sql: String,
    /// The text search configuration words are read by: `simple` for the standard analyzer of Elasticsearch.
    pub language: String,
    /// How far a replica may be behind the primary to be searched before it.
    pub max_lag: Duration,
}

/// Searches the database: a replica that is close to the primary, each search another one; the primary, where none is; then
/// whoever answers. From the first search on the servers are looked at once a second. What has to have been seen is searched
/// in the primary.
#[derive(Debug)]
pub struct PostgresSearcher {
    servers: Servers,
    table: Table,
    fields: Arc<Fields>,
    columns: RwLock<Option<Arc<Columns>>>,
}

impl PostgresSearcher {
    /// Reads the settings; reaches out to nobody. The `statement_timeout` of each server is how long a search may take there.
    ///
    /// # Errors
    /// As for [`Postgres::new`](super::Postgres::new).
    pub fn new(
        primary: &PostgresConfig,
        replicas: &[PostgresConfig],
        config: &SearchedConfig,
        fields: Arc<Fields>,
    ) -> Result<Self, Error> {
        let table = Table::new(&config.index, &config.sql, &config.topic, &config.language);
        let servers = Servers::new(primary, replicas, config.max_lag)?;
        Ok(Self { servers, table, fields, columns: RwLock::default() })
    }

    /// Tries the replicas, in their order: of each why it cannot be searched, if it cannot.
    pub async fn check_replicas(&self) -> Vec<Result<(), Error>> {
        self.servers.check().await.into_iter().map(|seen| seen.map(drop)).collect()
    }

    async fn columns(&self, client: &Timed) -> Result<Arc<Columns>, Error> {
        let known = self.columns.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(columns) = known {
            return Ok(columns);
        }
        let Table { index, sql, language, .. } = &self.table;
        let columns = Arc::new(Columns::read(index, sql, &self.fields, language, client).await?);
        *self.columns.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&columns));
        Ok(columns)
    }

    async fn search_at(&self, server: &Server, query: &Query) -> Result<Found, Error> {
        let client = server.database.timed().await?;
        let columns = self.columns(&client).await?;
        let search = Search { client: &client, table: &self.table, columns: &columns, fields: &self.fields, query };
        let found = search.run().await;
        if found.as_ref().is_err_and(|error| error.kind() == ErrorKind::Configuration) {
            // The tables may have been altered since they were looked at.
            *self.columns.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        found
    }

    /// Where these writes have to have been seen.
    async fn search_behind(&self, query: &Query) -> Result<Found, Error> {
        let primary = self.servers.primary();
        let error = match primary.at(self.search_at(primary, query)).await {
            Err(error) if !is_final(&error) => error,
            answered => return answered,
        };
        let awaited =
            |wrote: &Wrote| Some(Awaited { key: wrote.key.clone(), version: wrote.version?, is_deletion: false });
        // Without its version, only the primary could say what was written.
        let Some(awaited) = query.wrote.iter().map(awaited).collect::<Option<Vec<_>>>() else { return Err(error) };
        for replica in self.servers.replicas() {
            if replica.at(self.shows_at(replica, &awaited)).await.is_ok_and(|shows| shows)
                && let Ok(found) = replica.at(self.search_at(replica, query)).await
            {
                return Ok(found);
            }
        }
        Err(error)
    }

    async fn shows_at(&self, server: &Server, writes: &[Awaited]) -> Result<bool, Error> {
        let keys: Vec<_> = writes.iter().map(|write| write.key.as_str()).collect();
        let client = server.database.timed().await?;
        let topic = &self.table.quoted_topic;
        let sql = format!("select key, version from outbox.versions where topic = {topic} and key = any ($1)");
        let failed = |error| from_postgres("looking for what was written", error);
        let rows = client.query(sql.as_str(), &[&keys]).await.map_err(failed)?;
        let versions: HashMap<&str, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let is_seen = |write: &Awaited| match versions.get(write.key.as_str()) {
            Some(version) => version.unsigned_abs() >= write.version,
            // Its versions may have been purged.
            None => write.is_deletion,
        };
        Ok(writes.iter().all(is_seen))
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
            return self.search_behind(query).await;
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

    async fn shows(&self, writes: &[Awaited]) -> Result<bool, Error> {
        let primary = self.servers.primary();
        primary.at(self.shows_at(primary, writes)).await
    }
}
