//! The projection: configured SQL that says what the document of each key is now.

mod statements;
mod synced_at;
mod versions;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql};

use self::statements::Statements;
pub use self::synced_at::SyncedAt;
use super::connect::{Failure, Postgres, Timed};
use super::error::from_postgres;
use super::history;
use crate::error::{Error, ErrorKind};
use crate::port::{Current, History, Projection};
use crate::version::Version;

/// What one index is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProjectionConfig {
    /// The index's name in the configuration, for error messages.
    pub index: String,
    /// The topic whose keys it projects; its rows in `outbox.versions` are the documents' versions.
    pub topic: String,
    /// One `select` with the columns `key` (unique; of any type) and `document` (json or jsonb; null keeps the key out
    /// of the index). No column `version`: that is the outbox's. No parameters: the engine
    /// wraps it and asks for keys, so a plain column as `key` lets its index be used.
    pub sql: String,
    /// Where to note that a document is in the index; nowhere unless said.
    pub synced_at: Option<SyncedAt>,
}

impl ProjectionConfig {
    /// Of this index, topic and `select`, without a note in the rows.
    #[must_use]
    pub fn new(index: impl Into<String>, topic: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { index: index.into(), topic: topic.into(), sql: sql.into(), synced_at: None }
    }
}

setters! {
    ProjectionConfig {
        synced_at: maybe SyncedAt,
    }
}

/// Reads documents by running the configured SQL.
#[derive(Debug)]
pub struct PostgresProjection {
    database: Postgres,
    config: ProjectionConfig,
    statements: RwLock<Option<Arc<Statements>>>,
    /// The token of the history that was agreed upon.
    agreed: RwLock<Option<String>>,
}

/// A projection's SQL, to be put in brackets.
pub(super) fn as_subquery(sql: &str) -> &str {
    sql.trim().trim_end_matches(';')
}

impl ProjectionConfig {
    fn failed(&self, failure: Failure) -> Error {
        from_postgres(format!("indexes.{}.projection failed", self.index), failure)
    }

    fn wrong(&self, what: String) -> Error {
        Error::new(ErrorKind::Configuration, format!("indexes.{}.projection: {what}", self.index))
    }

    fn broken(&self, what: String) -> Error {
        Error::new(ErrorKind::Contract, format!("indexes.{}.projection: {what}", self.index))
    }
}

impl PostgresProjection {
    /// A projection that connects when it is used.
    #[must_use]
    pub fn new(database: Postgres, config: ProjectionConfig) -> Self {
        Self { database, config, statements: RwLock::default(), agreed: RwLock::default() }
    }

    /// Runs the projection for no key at all: finds out whether it can be run and has the columns it needs.
    ///
    /// # Errors
    /// `Configuration` naming what is wrong with it; `Unavailable`, `Denied`.
    pub async fn check(&self) -> Result<(), Error> {
        self.load(&[]).await.map(drop)
    }

    /// A document of any row, the first that PostgreSQL comes across; `None` where there is no row. One that takes it longer than
    /// two seconds is not waited for.
    ///
    /// # Errors
    /// As for [`check`](Self::check); `Unavailable` also when it takes too long; `Contract` when the row cannot be made a document.
    pub async fn sample(&self) -> Result<Option<String>, Error> {
        let client = self.database.timed().await?;
        let failed = |failure| self.config.failed(failure);
        client.begin().await.map_err(failed)?;
        client.batch_execute("set local statement_timeout = '2s'").await.map_err(failed)?;
        let sql = format!(
            "select document::text from (\n{}\n) as projection where document is not null limit 1",
            as_subquery(&self.config.sql)
        );
        let row = client.query_opt(&sql, &[]).await;
        client.rollback().await;
        Ok(row.map_err(failed)?.and_then(|row| row.get(0)))
    }

    async fn statements(&self, client: &Timed) -> Result<Arc<Statements>, Error> {
        let known = self.statements.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(statements) = known {
            return Ok(statements);
        }
        let statements = Arc::new(Statements::wrap(&self.config, client).await?);
        *self.statements.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&statements));
        Ok(statements)
    }

    /// Runs a wrapped statement, once more when the history has to be noted first: somebody has to be the first to
    /// read after a promotion.
    async fn rows(
        &self,
        client: &Timed,
        sql: &str,
        before: &[&(dyn ToSql + Sync)],
        after: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let agreed = self.agreed.read().unwrap_or_else(PoisonError::into_inner).clone();
        let parameters: Vec<_> = [before, &[&agreed], after].concat();
        for _ in 0..2 {
            let rows = self.query(client, sql, &parameters).await?;
            match rows.first().map(|row| row.try_get(IS_AGREED)) {
                None | Some(Ok(Some(true))) => return Ok(rows),
                Some(Ok(Some(false))) => break,
                Some(Ok(None)) => drop(history::note(client).await?),
                Some(Err(error)) => return Err(self.config.broken(format!("cannot read its answer: {error}"))),
            }
        }
        let what = format!("indexes.{}: PostgreSQL has begun another history; looking which", self.config.index);
        Err(Error::new(ErrorKind::Fenced, what))
    }

    async fn query(&self, client: &Timed, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let statement = client.prepare_cached(sql).await.map_err(|error| self.config.failed(error))?;
        client.query(&statement, parameters).await.map_err(|failure| match failure {
            Failure::Told(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                // A table the projection reads was altered: what was prepared before does not fit any more.
                client.forget_prepared();
                *self.statements.write().unwrap_or_else(PoisonError::into_inner) = None;
                Error::new(ErrorKind::Unavailable, "the projection's tables were altered; preparing it again")
                    .with_source(error)
            }
            failure @ (Failure::Told(_) | Failure::Silent(_)) => self.config.failed(failure),
        })
    }

    fn read<'a, T: FromSql<'a>>(&self, row: &'a Row, column: usize) -> Result<T, Error> {
        row.try_get(column).map_err(|error| self.config.broken(format!("cannot read its answer: {error}")))
    }

    fn current(&self, key: String, row: &Row) -> Result<Current, Error> {
        Ok(Current { version: self.version(row)?, key, document: self.read(row, OF_KEY)? })
    }

    fn version(&self, row: &Row) -> Result<Version, Error> {
        let version: Option<i64> = self.read(row, VERSION)?;
        // Without a row it is the version of the delete, or one the delete cannot have been after. A key the outbox never
        // heard of has none: at zero it loses against everything that was ever written.
        Version::new(self.read(row, EPOCH)?, version.unwrap_or_default())
    }

    /// One answer for each key, from rows that say to which place they belong.
    fn in_place<T>(
        &self,
        keys: &[String],
        rows: &[Row],
        read: impl Fn(String, &Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut found: Vec<Option<T>> = keys.iter().map(|_| None).collect();
        for row in rows {
            let place = usize::try_from(self.read::<i64>(row, PLACE)?).unwrap_or_default().wrapping_sub(1);
            let (Some(key), Some(slot)) = (keys.get(place), found.get_mut(place)) else {
                return Err(self.config.broken("an answer is to no key that was asked for".to_owned()));
            };
            if slot.replace(read(key.clone(), row)?).is_some() {
                return Err(self.config.broken(format!("two rows for key {key:?}; `key` must be unique")));
            }
        }
        let missing = |key: &String| Error::new(ErrorKind::Internal, format!("key {key:?} got no answer"));
        found.into_iter().zip(keys).map(|(found, key)| found.ok_or_else(|| missing(key))).collect()
    }
}

/// The columns of every statement that reads rows. The first is the key where they are scanned; the second what is wanted
/// of the key: its document, or whether it has one.
const PLACE: usize = 0;
const KEY: usize = 0;
const OF_KEY: usize = 1;
const VERSION: usize = 2;
const EPOCH: usize = 3;
const IS_AGREED: usize = 4;

#[async_trait]
impl Projection for PostgresProjection {
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error> {
        let client = self.database.timed().await?;
        let agreed = history::agree(&client, recorded).await;
        if agreed.as_ref().is_err_and(|error| error.kind() == ErrorKind::History) {
            // A primary of old that nobody has stopped yet: the new one may be among the other hosts.
            drop(client);
            self.database.doubt();
        }
        let history = agreed?;
        *self.agreed.write().unwrap_or_else(PoisonError::into_inner) = Some(history.token.clone());
        Ok(history)
    }

    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let rows = self.rows(&client, &statements.load, &[&keys, &self.config.topic], &[]).await?;
        self.in_place(keys, &rows, |key, row| self.current(key, row))
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&client, &statements.scan, &[&after, &self.config.topic], &[&limit]).await?;
        rows.iter().map(|row| self.current(self.read(row, KEY)?, row)).collect()
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(&client, &statements.keys, &[&after, &limit]).await?;
        rows.iter().map(|row| self.read(row, KEY)).collect()
    }

    async fn estimate(&self) -> Result<u64, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let rows = self.query(&client, &statements.plan, &[]).await?;
        let plan = rows.first().map(|row| self.read::<Value>(row, KEY)).transpose()?;
        let rows = plan.as_ref().and_then(|plan| plan.pointer("/0/Plan/Plan Rows")).and_then(Value::as_f64);
        Ok(rows.unwrap_or_default() as u64)
    }

    async fn count(&self) -> Result<u64, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let rows = self.query(&client, &statements.count, &[]).await?;
        let keys: Option<i64> = rows.first().map(|row| self.read(row, KEY)).transpose()?;
        Ok(keys.unwrap_or_default().unsigned_abs())
    }

    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        if keys.is_empty() || self.config.synced_at.is_none() {
            return Ok(Vec::new());
        }
        let client = self.database.timed().await?;
        match &self.statements(&client).await?.synced_at {
            Some(statement) => statement.run(&client, keys).await,
            None => Ok(Vec::new()),
        }
    }
}
