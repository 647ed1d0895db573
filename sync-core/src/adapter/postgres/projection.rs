//! The projection: configured SQL that says what the document of each key is now.

mod synced_at;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};

pub use self::synced_at::SyncedAt;
use self::synced_at::SyncedAtStatement;
use super::connect::{Failure, Postgres, Timed};
use super::error::from_postgres;
use super::history::{self, PRESENT};
use crate::error::{Error, ErrorKind};
use crate::port::{Current, History, Projection};
use crate::version::Version;

/// What one index is made of.
#[derive(Clone, Debug)]
pub struct ProjectionConfig {
    /// The index's name in the configuration, for error messages.
    pub index: String,
    /// The topic whose keys it projects; its rows in `outbox.versions` are the documents' versions.
    pub topic: String,
    /// One `select` with the columns `key` (unique; of any type) and `document` (json or jsonb; null keeps the key out
    /// of the index). No column `version`: that is the outbox's. No parameters: the engine
    /// wraps it and asks for keys, so a plain column as `key` lets its index be used.
    pub sql: String,
    /// Where to note that a document is in the index.
    pub synced_at: Option<SyncedAt>,
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

/// The configured SQL, wrapped; made once the database has told the type of the key.
#[derive(Debug)]
struct Statements {
    load: String,
    scan: String,
    keys: String,
    plan: String,
    synced_at: Option<SyncedAtStatement>,
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

    async fn statements(&self, client: &Timed) -> Result<Arc<Statements>, Error> {
        let known = self.statements.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(statements) = known {
            return Ok(statements);
        }
        let statements = Arc::new(self.wrap(client).await?);
        *self.statements.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&statements));
        Ok(statements)
    }

    async fn wrap(&self, client: &Timed) -> Result<Statements, Error> {
        let sql = self.config.sql.trim().trim_end_matches(';');
        let probe = client
            .prepare(&format!("select * from (\n{sql}\n) as projection limit 0"))
            .await
            .map_err(|error| self.failed(error))?;
        let column = |name: &str| probe.columns().iter().find(|column| column.name() == name);
        let (Some(key), Some(document)) = (column("key"), column("document")) else {
            let have: Vec<_> = probe.columns().iter().map(tokio_postgres::Column::name).collect();
            return Err(self.wrong(format!(
                "its columns are {}, but it must have `key` and `document`",
                if have.is_empty() { "none".to_owned() } else { have.join(", ") }
            )));
        };
        if !matches!(*document.type_(), Type::JSON | Type::JSONB) {
            return Err(self.wrong(format!(
                "its column `document` is of type {}, but must be json or jsonb: jsonb_build_object(…) makes one",
                document.type_()
            )));
        }
        let key_type: String = client
            .query_one("select format_type($1, -1)", &[&key.type_().oid()])
            .await
            .map_err(|error| self.failed(error))?
            .get(0);
        if column("version").is_some() {
            // Its numbers cannot be compared with those of deletes: a deleted row would stay, a new one be refused.
            return Err(self.wrong(
                "it has a column `version`, but versions come from outbox.versions; leave it out, or put it into the \
                 document under that name"
                    .to_owned(),
            ));
        }
        // The history is read in the snapshot of the rows; `$3` is the token of the one that was agreed upon. A document
        // of type json is text already, and passed on as it is.
        let row = |of: &str, from: &str| {
            format!(
                "with here as materialized ({PRESENT})\n\
                 select {of}, p.document::text, v.version, (select epoch from here),\n\
                 (select token = coalesce($3::text, token) from here)\n{from}"
            )
        };
        let versions = "left join outbox.versions v on v.topic = $2 and v.key =";
        // Asked by place, so that neither side has to find its keys again.
        let load = row(
            "w.place",
            &format!(
                "from unnest($1::text[]) with ordinality as w(key, place)\n\
                 left join (select * from (\n{sql}\n) as projection where key = any ($1::text[]::{key_type}[])) as p \
                 on p.key::text = w.key\n{versions} w.key"
            ),
        );
        let scan = row(
            "p.key::text",
            &format!(
                "from (select * from (\n{sql}\n) as projection\n\
                 where ($1::text is null or key > $1::text::{key_type}) and document is not null\n\
                 order by key limit $4) as p\n{versions} p.key::text\norder by p.key"
            ),
        );
        let keys = format!(
            "select key::text from (\n{sql}\n) as projection\n\
             where $1::text is null or key > $1::text::{key_type}\norder by key limit $2"
        );
        let plan = format!("explain (format json) select from (\n{sql}\n) as projection");
        let synced_at = match &self.config.synced_at {
            Some(synced_at) => Some(SyncedAtStatement::new(synced_at, &self.config.index, client).await?),
            None => None,
        };
        Ok(Statements { load, scan, keys, plan, synced_at })
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
                Some(Err(error)) => return Err(self.broken(format!("cannot read its answer: {error}"))),
            }
        }
        let what = format!("indexes.{}: PostgreSQL has begun another history; looking which", self.config.index);
        Err(Error::new(ErrorKind::Fenced, what))
    }

    async fn query(&self, client: &Timed, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let statement = client.prepare_cached(sql).await.map_err(|error| self.failed(error))?;
        client.query(&statement, parameters).await.map_err(|failure| match failure {
            Failure::Told(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                // A table the projection reads was altered: what was prepared before does not fit any more.
                client.forget_prepared();
                *self.statements.write().unwrap_or_else(PoisonError::into_inner) = None;
                Error::new(ErrorKind::Unavailable, "the projection's tables were altered; preparing it again")
                    .with_source(error)
            }
            failure @ (Failure::Told(_) | Failure::Silent(_)) => self.failed(failure),
        })
    }

    fn failed(&self, failure: Failure) -> Error {
        from_postgres(format!("indexes.{}.projection failed", self.config.index), failure)
    }

    fn wrong(&self, what: String) -> Error {
        Error::new(ErrorKind::Configuration, format!("indexes.{}.projection: {what}", self.config.index))
    }

    fn broken(&self, what: String) -> Error {
        Error::new(ErrorKind::Contract, format!("indexes.{}.projection: {what}", self.config.index))
    }

    fn read<'a, T: FromSql<'a>>(&self, row: &'a Row, column: usize) -> Result<T, Error> {
        row.try_get(column).map_err(|error| self.broken(format!("cannot read its answer: {error}")))
    }

    fn current(&self, key: String, row: &Row) -> Result<Current, Error> {
        let version: Option<i64> = self.read(row, VERSION)?;
        // Without a row it is the version of the delete. A key the outbox never heard of has none: at zero it loses
        // against everything that was ever written.
        let version = Version::new(self.read(row, EPOCH)?, version.unwrap_or_default())?;
        Ok(Current { version, key, document: self.read(row, DOCUMENT)? })
    }
}

/// The columns of both statements.
const OF: usize = 0;
const DOCUMENT: usize = 1;
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
        let mut found: Vec<Option<Current>> = keys.iter().map(|_| None).collect();
        for row in &rows {
            let place = usize::try_from(self.read::<i64>(row, OF)?).unwrap_or_default().wrapping_sub(1);
            let (Some(key), Some(slot)) = (keys.get(place), found.get_mut(place)) else {
                return Err(self.broken("an answer is to no key that was asked for".to_owned()));
            };
            if slot.replace(self.current(key.clone(), row)?).is_some() {
                return Err(self.broken(format!("two rows for key {key:?}; `key` must be unique")));
            }
        }
        let missing = |key: &String| Error::new(ErrorKind::Internal, format!("key {key:?} got no answer"));
        found.into_iter().zip(keys).map(|(current, key)| current.ok_or_else(|| missing(key))).collect()
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&client, &statements.scan, &[&after, &self.config.topic], &[&limit]).await?;
        rows.iter().map(|row| self.current(self.read(row, OF)?, row)).collect()
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(&client, &statements.keys, &[&after, &limit]).await?;
        rows.iter().map(|row| self.read(row, OF)).collect()
    }

    async fn estimate(&self) -> Result<u64, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let rows = self.query(&client, &statements.plan, &[]).await?;
        let plan = rows.first().map(|row| self.read::<Value>(row, OF)).transpose()?;
        let rows = plan.as_ref().and_then(|plan| plan.pointer("/0/Plan/Plan Rows")).and_then(Value::as_f64);
        Ok(rows.unwrap_or_default() as u64)
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
