//! Versions without documents, for comparing, and higher ones, for outdoing an index.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::statements::Statements;
use super::{KEY, OF_KEY, PostgresProjection};
use crate::adapter::postgres::connect::Timed;
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{Changed, KeyState, Versions};
use crate::version::Version;

/// The column of the statements that read states.
const AGE: usize = 5;

/// The column of [`CHANGED`] that says whether a key is only the last one looked at.
const IS_VISITED: usize = 1;

/// So many keys are looked at, however few of them have changed: a statement must not go through all there are.
const CHANGED: &str = "
with visited as materialized (
    select v.key, v.updated_at from outbox.versions v
     where v.topic = $1 and ($2::text is null or v.key > $2) order by v.key limit $4::int8)
select key, false from visited where updated_at >= timestamptz 'epoch' + make_interval(secs => $3::float8)
union all
select max(key), true from visited having count(*) = $4::int8";

const RAISE: &str = "select outbox.raise_versions($1, $2, $3)";

#[async_trait]
impl Versions for PostgresProjection {
    async fn states(&self, keys: &[String]) -> Result<Vec<KeyState>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        match self.possible_states(&client, &statements, keys).await {
            Err(error) if error.kind() == ErrorKind::Contract => {
                let possible = self.possible(&client, &statements, keys).await?;
                if possible.len() == keys.len() {
                    return Err(error);
                }
                let states = self.possible_states(&client, &statements, &possible).await?;
                let known: HashMap<String, KeyState> =
                    states.into_iter().map(|state| (state.key.clone(), state)).collect();
                Ok(keys.iter().map(|key| known.get(key).cloned().unwrap_or_else(|| impossible(key))).collect())
            }
            states => states,
        }
    }

    async fn scan_states(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeyState>, Error> {
        let client = self.database.timed().await?;
        let statements = self.statements(&client).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&client, &statements.scan_states, &[&after, &self.config.topic], &[&limit]).await?;
        rows.iter().map(|row| self.state(self.read(row, KEY)?, row)).collect()
    }

    async fn changed(&self, since: Timestamp, after: Option<&str>, limit: usize) -> Result<Changed, Error> {
        let client = self.database.timed().await?;
        let at_most = i64::try_from(limit).unwrap_or(i64::MAX);
        let since = since.as_duration().as_secs_f64();
        let rows = self.query(&client, CHANGED, &[&self.config.topic, &after, &since, &at_most]).await?;
        let (mut keys, mut next) = (Vec::with_capacity(rows.len()), None);
        for row in &rows {
            let key: String = self.read(row, KEY)?;
            if self.read(row, IS_VISITED)? {
                next = Some(key);
            } else {
                keys.push(key);
            }
        }
        Ok(Changed { keys, next })
    }

    async fn raise(&self, keys: &[String], above: Version) -> Result<(), Error> {
        let failed = |error| from_postgres(format!("indexes.{}: raising versions", self.config.index), error);
        let client = self.database.timed().await?;
        let above = i64::try_from(above.external())
            .map_err(|error| Error::new(ErrorKind::Contract, "no version is that high").with_source(error))?;
        let statement = client.prepare_cached(RAISE).await.map_err(failed)?;
        client.execute(&statement, &[&self.config.topic, &keys, &above]).await.map_err(failed).map(drop)
    }
}

impl PostgresProjection {
    async fn possible_states(
        &self,
        client: &Timed,
        statements: &Statements,
        keys: &[String],
    ) -> Result<Vec<KeyState>, Error> {
        let rows = self.rows(client, &statements.states, &[&keys, &self.config.topic], &[]).await?;
        self.in_place(keys, &rows, |key, row| self.state(key, row))
    }

    /// Those that can be read as keys: the others are found by halving.
    async fn possible(&self, client: &Timed, statements: &Statements, keys: &[String]) -> Result<Vec<String>, Error> {
        let (mut possible, mut waiting) = (Vec::with_capacity(keys.len()), vec![keys]);
        while let Some(some) = waiting.pop() {
            match self.query(client, &statements.possible, &[&some]).await {
                Ok(_) => possible.extend_from_slice(some),
                Err(error) if error.kind() == ErrorKind::Contract => {
                    let (first, second) = some.split_at(some.len() / 2);
                    if !first.is_empty() {
                        waiting.extend([second, first]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(possible)
    }

    fn state(&self, key: String, row: &Row) -> Result<KeyState, Error> {
        let age: Option<f64> = self.read(row, AGE)?;
        Ok(KeyState {
            key,
            version: self.version(row)?,
            has_document: self.read(row, OF_KEY)?,
            is_possible: true,
            // A clock that was set back makes the future of what was written before.
            age: age.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
        })
    }
}

/// Of a key no row can have.
fn impossible(key: &str) -> KeyState {
    KeyState { key: key.to_owned(), version: Version::default(), has_document: false, is_possible: false, age: None }
}
