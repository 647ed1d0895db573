//! Searching the rows a projection makes documents of.

mod columns;
mod page;
mod statement;
mod table;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use self::columns::Columns;
use self::page::Search;
use self::table::Table;
use super::connect::{Postgres, PostgresConfig, Timed};
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{Awaited, Found, Searcher};
use crate::query::{Fields, Query};

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
}

/// Searches the database.
#[derive(Debug)]
pub struct PostgresSearcher {
    primary: Postgres,
    table: Table,
    fields: Arc<Fields>,
    columns: RwLock<Option<Arc<Columns>>>,
}

impl PostgresSearcher {
    /// Reads the settings; reaches out to nobody. The `statement_timeout` is how long one search may take.
    ///
    /// # Errors
    /// As for [`Postgres::new`].
    pub fn new(primary: &PostgresConfig, config: &SearchedConfig, fields: Arc<Fields>) -> Result<Self, Error> {
        let table = Table::new(&config.index, &config.sql, &config.topic, &config.language);
        Ok(Self { primary: Postgres::reading(primary)?, table, fields, columns: RwLock::default() })
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

    async fn search_at(&self, server: &Postgres, query: &Query) -> Result<Found, Error> {
        let client = server.timed().await?;
        let columns = self.columns(&client).await?;
        let search = Search { client: &client, table: &self.table, columns: &columns, fields: &self.fields, query };
        let found = search.run().await;
        if found.as_ref().is_err_and(|error| error.kind() == ErrorKind::Configuration) {
            // The tables may have been altered since they were looked at.
            *self.columns.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        found
    }
}

#[async_trait]
impl Searcher for PostgresSearcher {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn search(&self, query: &Query) -> Result<Found, Error> {
        query.check(&self.fields)?;
        self.search_at(&self.primary, query).await
    }

    async fn shows(&self, writes: &[Awaited]) -> Result<bool, Error> {
        let keys: Vec<_> = writes.iter().map(|write| write.key.as_str()).collect();
        let client = self.primary.timed().await?;
        let sql = format!(
            "select key, version from outbox.versions where topic = {} and key = any ($1)",
            self.table.quoted_topic
        );
        let failed = |error| from_postgres("looking for what was written", error);
        let rows = client.query(sql.as_str(), &[&keys]).await.map_err(failed)?;
        let known = |key: &str| {
            rows.iter().find(|row| row.get::<_, &str>(0) == key).map(|row| row.get::<_, i64>(1).unsigned_abs())
        };
        Ok(writes.iter().all(|write| known(&write.key).map_or(write.is_deletion, |version| version >= write.version)))
    }
}
