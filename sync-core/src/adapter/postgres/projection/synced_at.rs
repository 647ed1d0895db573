//! The column of a source row that says when its document reached the index.

use crate::adapter::postgres::connect::Timed;
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};

/// The column to set to the current time once a row's document is in the index. `outbox.watch` must be told to ignore
/// it, or every update of it would be a change again.
///
/// The application never waits for a note: a row that a transaction holds locked is left out, and noted once it is free
/// again. If that takes more than about two seconds it stays as it was; when the transaction changes the row, its own
/// event brings the note.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncedAt {
    /// The table, as SQL names it (`public.jobs`, `"Mixed Case"`).
    pub table: String,
    /// Its column with the document's key.
    pub key: String,
    /// Its `timestamptz` column.
    pub column: String,
}

impl SyncedAt {
    /// This column of the table whose rows have the documents' keys in `key`.
    #[must_use]
    pub fn new(table: impl Into<String>, key: impl Into<String>, column: impl Into<String>) -> Self {
        Self { table: table.into(), key: key.into(), column: column.into() }
    }
}

/// The update, with every name resolved by the database, and no watch that would answer each with a change.
#[derive(Debug)]
pub(super) struct SyncedAtStatement {
    sql: String,
    setting: String,
}

impl SyncedAtStatement {
    pub(super) async fn new(synced_at: &SyncedAt, index: &str, client: &Timed) -> Result<Self, Error> {
        let setting = format!("indexes.{index}.synced_at");
        let row = client
            .query_opt(RESOLVE, &[&synced_at.table, &synced_at.key, &synced_at.column])
            .await
            .map_err(|error| from_postgres(setting.as_str(), error))?;
        let Some(row) = row else {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "{setting}: there is no table {} with the columns {:?} and {:?}",
                    synced_at.table, synced_at.key, synced_at.column
                ),
            ));
        };
        let (table, key, key_type, column): (String, String, String, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let loops: Vec<String> = row.get(4);
        if !loops.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "{setting}.column: the watch of {} for {} counts {} as a change, so that each note would cause the \
                     next; watch it again with ignore => array['{}']",
                    synced_at.table,
                    loops.join(", "),
                    synced_at.column,
                    synced_at.column
                ),
            ));
        }
        // It never waits for a row: waiting, it could be one side of a deadlock whose other side is the application.
        let sql = format!(
            "with free as materialized (\
                 select {key} as key from {table} where {key} = any ($1::text[]::{key_type}[]) \
                 for no key update skip locked), \
             noted as (update {table} set {column} = now() where {key} in (select key from free)) \
             select {key}::text from {table} where {key} = any ($1::text[]::{key_type}[]) \
                and {key} not in (select key from free)"
        );
        Ok(Self { sql, setting })
    }

    /// Says which keys it left out.
    pub(super) async fn run(&self, client: &Timed, keys: &[String]) -> Result<Vec<String>, Error> {
        let failed = |error| from_postgres(self.setting.as_str(), error);
        let statement = client.prepare_cached(&self.sql).await.map_err(failed)?;
        let held = client.query(&statement, &[&keys]).await.map_err(failed)?;
        Ok(held.iter().map(|row| row.get(0)).collect())
    }
}

const RESOLVE: &str = "
select format('%I.%I', n.nspname, c.relname), quote_ident(k.attname),
       format_type(k.atttypid, k.atttypmod), quote_ident(s.attname),
       array(select w.topic from outbox.watches w
              where w.relation = c.oid
                and not (s.attname::text = any (w.ignore) or coalesce(s.attname::text <> all (w.columns), false))
              order by w.topic)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute k on k.attrelid = c.oid and k.attname = $2 and not k.attisdropped
  join pg_attribute s on s.attrelid = c.oid and s.attname = $3 and not s.attisdropped
 where c.oid = to_regclass($1)";
