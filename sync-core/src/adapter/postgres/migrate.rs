//! Bringing the schema `outbox` up to date.

use deadpool_postgres::Object;
use refinery::error::Kind;
use refinery::{Migration, Runner};
use tokio_postgres::Client;

use super::connect::Postgres;
use super::error::{from_postgres, may_pass};
use crate::error::{Error, ErrorKind};

/// In the order of their numbers. A migration that was released never changes: its checksum is kept in the database.
const MIGRATIONS: [(&str, &str); 26] = [
    ("V1__tables", include_str!("../../../migrations/V1__tables.sql")),
    ("V2__history", include_str!("../../../migrations/V2__history.sql")),
    ("V3__emit", include_str!("../../../migrations/V3__emit.sql")),
    ("V4__watch_checks", include_str!("../../../migrations/V4__watch_checks.sql")),
    ("V5__watch_triggers", include_str!("../../../migrations/V5__watch_triggers.sql")),
    ("V6__watch", include_str!("../../../migrations/V6__watch.sql")),
    ("V7__maintain", include_str!("../../../migrations/V7__maintain.sql")),
    ("V8__exactly_once", include_str!("../../../migrations/V8__exactly_once.sql")),
    ("V9__agreement", include_str!("../../../migrations/V9__agreement.sql")),
    ("V10__runs", include_str!("../../../migrations/V10__runs.sql")),
    ("V11__raise", include_str!("../../../migrations/V11__raise.sql")),
    ("V12__retention", include_str!("../../../migrations/V12__retention.sql")),
    ("V13__replay", include_str!("../../../migrations/V13__replay.sql")),
    ("V14__reindexes", include_str!("../../../migrations/V14__reindexes.sql")),
    ("V15__purge", include_str!("../../../migrations/V15__purge.sql")),
    ("V16__sagas", include_str!("../../../migrations/V16__sagas.sql")),
    ("V17__workspaces", include_str!("../../../migrations/V17__workspaces.sql")),
    ("V18__words", include_str!("../../../migrations/V18__words.sql")),
    ("V19__saga_ends", include_str!("../../../migrations/V19__saga_ends.sql")),
    ("V20__leases", include_str!("../../../migrations/V20__leases.sql")),
    ("V21__watchers", include_str!("../../../migrations/V21__watchers.sql")),
    ("V22__upkeep", include_str!("../../../migrations/V22__upkeep.sql")),
    ("V23__lease_notes", include_str!("../../../migrations/V23__lease_notes.sql")),
    ("V24__values", include_str!("../../../migrations/V24__values.sql")),
    ("V25__routes", include_str!("../../../migrations/V25__routes.sql")),
    ("V26__installed", include_str!("../../../migrations/V26__installed.sql")),
];

/// What was applied is kept beside what it made, so that a dump of the schema is complete.
const TABLE: &str = "outbox.migrations";

const ANOTHER: &str =
    "the outbox was migrated by another version of this program, probably a newer one; run that version";

/// The class of the engine's advisory locks, as `outbox.wake_class()` says once it exists, and the number reserved for
/// migrations. The migration tool takes no lock itself.
const LOCK: &str = "1869968482, -1";

impl Postgres {
    /// [`migrate`], on a connection of its own: dropped half-way, that one is closed, and keeps nobody waiting.
    ///
    /// # Errors
    /// As there.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        // Out of the pool, because whoever gave up has left a lock on it.
        let mut client = Object::take(self.client().await?);
        migrate(&mut client).await
    }
}

/// Applies the migrations that are missing, each in a transaction of its own, and returns their names in order.
///
/// May be called by several processes at once, and again: the others wait and then find nothing to do. It needs a
/// session, not a transaction pooler, and takes its time: no `statement_timeout` holds meanwhile. Dropped half-way, the migration at work may or may not have been applied, and the
/// connection keeps a lock until it is closed: drop it too.
///
/// # Errors
/// `Configuration` when a migration cannot be applied as the database is, or the database was migrated by another
/// version of this program; `Denied`; `Unavailable`.
pub async fn migrate(client: &mut Client) -> Result<Vec<String>, Error> {
    let doing = |error: tokio_postgres::Error| from_postgres("migrating the outbox", error);
    // Other processes, and a large table, may take their time.
    let before: String =
        client.query_one("select current_setting('statement_timeout')", &[]).await.map_err(doing)?.get(0);
    client.batch_execute("set statement_timeout = 0").await.map_err(doing)?;
    client.batch_execute(&format!("select pg_advisory_lock({LOCK})")).await.map_err(doing)?;
    let applied = apply(client).await;
    let after = format!("select pg_advisory_unlock({LOCK}); set statement_timeout = '{before}'");
    let unlocked = client.batch_execute(&after).await.map_err(doing);
    let applied = applied?;
    unlocked?;
    Ok(applied)
}

/// The names of the migrations this program has and the database has not, in order, whatever else that one has. Changes
/// nothing.
///
/// # Errors
/// `Denied`, `Unavailable`.
pub async fn pending(client: &Client) -> Result<Vec<String>, Error> {
    let applied = applied(client).await?;
    let is_applied = |migration: &Migration| applied.iter().any(|applied| applied.version == migration.version());
    let missing = all()?.into_iter().filter(|migration| !is_applied(migration));
    Ok(missing.map(|migration| migration.to_string()).collect())
}

/// The names of the migrations [`migrate`] would apply, in order, unless it would refuse the database. Changes nothing.
///
/// # Errors
/// `Configuration` when the database was migrated by another version of this program; `Denied`, `Unavailable`.
pub async fn rehearse(client: &Client) -> Result<Vec<String>, Error> {
    let (known, applied) = (all()?, applied(client).await?);
    let strange = applied.iter().find(|applied| !known.iter().any(|known| applied.is(known)));
    if let Some(Applied { version, name, .. }) = strange {
        let what = format!("{ANOTHER}: V{version}__{name} is in the database, and is none of this program's");
        return Err(Error::new(ErrorKind::Configuration, what));
    }
    let missing = known.iter().filter(|known| !applied.iter().any(|applied| applied.is(known)));
    let newest = applied.iter().map(|applied| applied.version).max();
    let mut names = Vec::new();
    for migration in missing {
        if newest.is_some_and(|newest| newest > migration.version()) {
            let what = format!("{ANOTHER}: {migration} is not in the database, and later ones are");
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        names.push(migration.to_string());
    }
    Ok(names)
}

/// A migration the database has.
struct Applied {
    version: i32,
    name: String,
    checksum: String,
}

impl Applied {
    fn is(&self, known: &Migration) -> bool {
        self.version == known.version() && self.name == known.name() && self.checksum == known.checksum().to_string()
    }
}

async fn applied(client: &Client) -> Result<Vec<Applied>, Error> {
    let doing = |error| from_postgres("asking which migrations the outbox has", error);
    let row = client.query_one("select to_regclass($1) is not null", &[&TABLE]).await.map_err(doing)?;
    if !row.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let sql = format!("select version, name, checksum from {TABLE} order by version");
    let rows = client.query(&sql, &[]).await.map_err(doing)?;
    Ok(rows.iter().map(|row| Applied { version: row.get(0), name: row.get(1), checksum: row.get(2) }).collect())
}

async fn apply(client: &mut Client) -> Result<Vec<String>, Error> {
    let doing = |error| from_postgres("creating the schema outbox", error);
    // Not `if not exists`, which asks for the permission even where there is nothing to create.
    let row = client.query_one("select to_regnamespace('outbox') is null", &[]).await.map_err(doing)?;
    if row.get(0) {
        client.batch_execute("create schema outbox").await.map_err(doing)?;
    }
    let mut runner = Runner::new(&all()?);
    runner.set_migration_table_name(TABLE);
    let report = runner.run_async(client).await.map_err(failed)?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

fn all() -> Result<Vec<Migration>, Error> {
    MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql).map_err(failed)).collect()
}

fn failed(error: refinery::Error) -> Error {
    let (kind, action) = match error.kind() {
        Kind::Connection(_, cause) => {
            let cause = cause.downcast_ref::<tokio_postgres::Error>();
            let refused = cause.is_some_and(|error| error.as_db_error().is_some() && !may_pass(error));
            (if refused { ErrorKind::Configuration } else { ErrorKind::Unavailable }, "migrating the outbox")
        }
        Kind::MissingVersion(_) | Kind::DivergentVersion(..) => (ErrorKind::Configuration, ANOTHER),
        Kind::InvalidName
        | Kind::InvalidVersion
        | Kind::RepeatedVersion(_)
        | Kind::InvalidMigrationPath(..)
        | Kind::ConfigError(_)
        | Kind::InvalidMigrationFile(..) => (ErrorKind::Internal, "the migrations in this program"),
    };
    Error::new(kind, action).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_among_the_migrations_is_embedded_in_the_order_of_its_number() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| Some(name.strip_suffix(".sql")?.to_owned()))
            .collect();
        files.sort_by_key(|name| Migration::unapplied(name, "").unwrap().version());
        assert_eq!(files, MIGRATIONS.map(|(name, _)| name.to_owned()));
    }
}
