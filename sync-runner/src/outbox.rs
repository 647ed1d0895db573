//! What `check`, `status` and the monitor ask PostgreSQL. Reads only.

pub(crate) mod privileges;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sync_core::adapter::postgres::Postgres;
use sync_core::{Error, ErrorKind};
use tokio::time::Instant;
use tokio_postgres::Row;

/// The first version with `xid8` and `pg_snapshot`, which the outbox is built on.
pub(crate) const OLDEST_VERSION: i32 = 13;

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// As the server writes its version.
    pub(crate) version: String,
    /// The first number of it.
    pub(crate) major: i32,
    /// Whether it is a standby.
    pub(crate) standby: bool,
    /// Whether this connection is encrypted.
    pub(crate) tls: bool,
    /// Who we are there.
    pub(crate) user: String,
    /// Which database this is.
    pub(crate) database: String,
}

/// The lease and the position of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Subscription {
    /// Who holds the lease now; `None` when nobody does.
    pub(crate) holder: Option<String>,
    /// Grows at each take-over.
    pub(crate) term: i64,
    /// All this snapshot saw is done.
    pub(crate) position: String,
    /// Whether this position only follows one in Kafka.
    pub(crate) mirrored: bool,
}

/// Asks the server who it is.
///
/// # Errors
/// `Unavailable`, `Denied`, `Configuration` as connecting goes.
pub(crate) async fn server(database: &Postgres) -> Result<Server, Error> {
    let client = database.client().await?;
    let row =
        client.query_one(SERVER, &[]).await.map_err(|error| failed("asking PostgreSQL for its version", error))?;
    let number: i32 = row.get(1);
    Ok(Server {
        version: row.get(0),
        major: number / 10_000,
        standby: row.get(2),
        tls: row.get(3),
        user: row.get(4),
        database: row.get(5),
    })
}

const SERVER: &str = "
select split_part(current_setting('server_version'), ' ', 1), current_setting('server_version_num')::int,
       pg_is_in_recovery(), coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
       current_user::text, current_database()::text";

/// How far this machine's clock is ahead of the server's, in seconds; negative when it is behind. As exact as the way there
/// is short.
///
/// # Errors
/// `Unavailable`.
pub(crate) async fn clock_skew(database: &Postgres) -> Result<f64, Error> {
    let client = database.client().await?;
    let (asked, began) = (Timestamp::now(), Instant::now());
    let row = client.query_one("select extract(epoch from clock_timestamp())::float8", &[]).await;
    let theirs: f64 = row.map_err(|error| failed("asking for the time", error))?.get(0);
    let ours = asked.as_duration().as_secs_f64() + began.elapsed().as_secs_f64() / 2.0;
    Ok(ours - theirs)
}

/// What `outbox.watch` or `outbox.route` has installed on a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Installed {
    /// `watch` or `route`.
    pub(crate) kind: String,
    /// The table, as PostgreSQL names it.
    pub(crate) table: String,
    /// Where its events go; of a route perhaps made of what its rows hold.
    pub(crate) topic: String,
    /// What of it is not as it was made.
    pub(crate) faults: Vec<String>,
}

impl Installed {
    /// The table and what is wrong with it, where anything is. Of a table with many partitions, no more than one reads.
    pub(crate) fn told_of_faults(&self) -> Option<String> {
        const MOST: usize = 3;
        let (first, more) = self.faults.split_at(self.faults.len().min(MOST));
        let more = if more.is_empty() { String::new() } else { format!("; and {} more", more.len()) };
        (!first.is_empty()).then(|| format!("{}: {}{more}", self.table, first.join("; ")))
    }
}

/// The tables of those that have faults, each once.
pub(crate) fn faulty_tables(installed: &[Installed]) -> Vec<String> {
    let faulty = installed.iter().filter(|made| !made.faults.is_empty()).map(|made| made.table.clone());
    faulty.collect::<BTreeSet<_>>().into_iter().collect()
}

/// All watches and routes, in the order of their topics and tables.
///
/// # Errors
/// `Unavailable`, `Denied`; `Configuration` where there is no outbox.
pub(crate) async fn installed(database: &Postgres) -> Result<Vec<Installed>, Error> {
    let client = database.client().await?;
    let sql = "select kind, relation_name, topic, faults from outbox.installed()";
    let rows = client.query(sql, &[]).await.map_err(|error| failed("asking for watches and routes", error))?;
    let made = |row: &Row| Installed { kind: row.get(0), table: row.get(1), topic: row.get(2), faults: row.get(3) };
    Ok(rows.iter().map(made).collect())
}

/// What the user lacks to note in the rows of a table that they are in the index: reading the key, writing the column.
///
/// # Errors
/// `Unavailable`; `Configuration` where there is no such table or column.
pub(crate) async fn missing_to_note(
    database: &Postgres,
    table: &str,
    key: &str,
    column: &str,
) -> Result<Vec<String>, Error> {
    let client = database.client().await?;
    let sql = "select coalesce(array_agg(format('%s (%I) on %s', wanted.privilege, wanted.name, $1::text)), '{}')
               from (values ('select', $2::text), ('update', $3::text)) as wanted (privilege, name)
               where not has_column_privilege($1::text::regclass, wanted.name, wanted.privilege)";
    let row = client.query_one(sql, &[&table, &key, &column]).await;
    Ok(row.map_err(|error| failed("asking for privileges of a column", error))?.get(0))
}

/// Where the subscription `name` stands; `None` before its relay ran for the first time.
///
/// # Errors
/// `Unavailable`, `Denied`; `Configuration` where there is no outbox.
pub(crate) async fn subscription(database: &Postgres, name: &str) -> Result<Option<Subscription>, Error> {
    let client = database.client().await?;
    let sql = "select case when lease_until > clock_timestamp() then lease_holder end, lease_term, coalesce(hi, lo), \
               ledger_from is not null from outbox.subscriptions where name = $1";
    let row = client.query_opt(sql, &[&name]).await.map_err(|error| failed("asking for the lease", error))?;
    Ok(row.map(|row| Subscription { holder: row.get(0), term: row.get(1), position: row.get(2), mirrored: row.get(3) }))
}

/// The highest number an event was given; `None` before the first, and where we may not ask.
///
/// # Errors
/// `Unavailable`, `Denied`; `Configuration` where there is no outbox.
pub(crate) async fn last_event(database: &Postgres) -> Result<Option<i64>, Error> {
    let client = database.client().await?;
    let sql = "select pg_sequence_last_value(sequence) \
               from pg_get_serial_sequence('outbox.events', 'id') as name, cast(name as regclass) as sequence";
    let row = client.query_one(sql, &[]).await.map_err(|error| failed("asking for the last event", error))?;
    Ok(row.get(0))
}

/// How many days ahead the outbox has leaves for.
///
/// # Errors
/// `Unavailable`, `Denied`; `Configuration` where there is no outbox.
pub(crate) async fn leaves_ahead(database: &Postgres) -> Result<i64, Error> {
    let client = database.client().await?;
    let sql = "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid \
               where i.inhparent = 'outbox.events'::regclass and c.relname ~ '^events_\\d{8}$' \
               and to_date(right(c.relname, 8), 'YYYYMMDD') > (clock_timestamp() at time zone 'UTC')::date";
    let row = client.query_one(sql, &[]).await.map_err(|error| failed("asking for leaves of the outbox", error))?;
    Ok(row.get(0))
}

/// How many sagas are under way, by kind.
///
/// # Errors
/// `Unavailable`, `Denied`; `Configuration` where there is no outbox.
pub(crate) async fn unfinished_sagas(database: &Postgres) -> Result<BTreeMap<String, u64>, Error> {
    let client = database.client().await?;
    let sql = "select kind, count(*) from outbox.sagas where ended_at is null group by kind";
    let rows = client.query(sql, &[]).await.map_err(|error| failed("counting sagas under way", error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect())
}

/// How much of the outbox is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Retained {
    /// Bytes of events, indexes included.
    pub(crate) bytes: i64,
    /// Days they are of.
    pub(crate) days: usize,
    /// Subscriptions that hold back what is older than the retention, with its bytes.
    pub(crate) held_back: BTreeMap<String, i64>,
}

/// How much of the outbox is kept, and who holds back what is older than `retention`.
///
/// # Errors
/// `Unavailable`, `Denied`; `Configuration` where there is no outbox.
pub(crate) async fn retained(database: &Postgres, retention: Duration) -> Result<Retained, Error> {
    let client = database.client().await?;
    let sql = "select bytes, not_passed_by, \
               coalesce((day + interval '1 day') at time zone 'UTC' <= clock_timestamp() - make_interval(secs => $1::float8), false) \
               from outbox.retained()";
    let rows = client.query(sql, &[&retention.as_secs_f64()]).await;
    let mut retained = Retained::default();
    for row in rows.map_err(|error| failed("asking how much the outbox holds", error))? {
        let (bytes, holders, is_old): (i64, Vec<String>, bool) = (row.get(0), row.get(1), row.get(2));
        retained.bytes += bytes;
        retained.days += 1;
        for holder in holders.into_iter().filter(|_| is_old) {
            *retained.held_back.entry(holder).or_default() += bytes;
        }
    }
    Ok(retained)
}

/// These statements are right and small: where they fail, the outbox is missing or closed to us, or the connection
/// broke.
fn failed(doing: &str, error: tokio_postgres::Error) -> Error {
    let kind = match error.as_db_error().map(|said| said.code().code()) {
        Some("42501") => ErrorKind::Denied,
        Some(code) if code.starts_with("42") || code.starts_with("3F") => ErrorKind::Configuration,
        Some(_) | None => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("postgres.url: {doing}")).with_source(error)
}
