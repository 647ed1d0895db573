//! Re-indexes in the table `outbox.reindexes`.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::connect::Postgres;
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{ReindexOf, ReindexPhase, Reindexes, Reindexing};

/// Who works on re-indexes.
#[derive(Clone, Debug)]
pub struct ReindexesConfig {
    /// Who this process is, for others to read.
    pub holder: String,
    /// How long after it was last held a re-index is left to whoever holds it.
    pub lease: Duration,
}

/// Keeps re-indexes in PostgreSQL.
#[derive(Debug)]
pub struct PostgresReindexes {
    database: Postgres,
    config: ReindexesConfig,
}

impl PostgresReindexes {
    /// Connects when it is used.
    #[must_use]
    pub fn new(database: Postgres, config: ReindexesConfig) -> Self {
        Self { database, config }
    }

    /// Why nothing was updated.
    async fn refused(&self, of: &Reindexing) -> Result<Error, Error> {
        let client = self.database.timed().await?;
        let held = client.query_opt(HELD, &[&of.id]).await;
        let held = held.map_err(|error| from_postgres("looking at a re-index", error))?;
        let Some(row) = held else {
            let what = format!("the re-index of {} is over: another process ended it", of.index);
            return Ok(Error::new(ErrorKind::Configuration, what));
        };
        let (by, seconds): (String, i64) = (row.get(0), row.get(1));
        let what = format!(
            "the re-index of {} is in the hands of {by}; if that process is gone, it is taken up in {seconds} s",
            of.index
        );
        Ok(Error::new(ErrorKind::Fenced, what))
    }
}

#[async_trait]
impl Reindexes for PostgresReindexes {
    async fn unfinished(&self, index: &str) -> Result<Option<Reindexing>, Error> {
        let client = self.database.timed().await?;
        let row = client.query_opt(UNFINISHED, &[&index]).await;
        row.map_err(|error| from_postgres("looking for a re-index", error))?.as_ref().map(reindexing).transpose()
    }

    async fn begin(&self, of: &ReindexOf) -> Result<Reindexing, Error> {
        let ReindexOf { index, topic, old, new, mapping } = of;
        let ReindexesConfig { holder, lease } = &self.config;
        let client = self.database.timed().await?;
        let begun = client
            .query_opt(BEGIN, &[index, old, new, mapping, holder, &lease.as_secs_f64(), &subscription(index), topic])
            .await
            .map_err(|error| from_postgres("beginning a re-index", error))?;
        match begun {
            Some(row) => reindexing(&row),
            None => Err(Error::new(ErrorKind::Fenced, format!("a re-index of {index} was begun by another process"))),
        }
    }

    async fn hold(&self, of: &Reindexing) -> Result<Reindexing, Error> {
        let ReindexesConfig { holder, lease } = &self.config;
        let client = self.database.timed().await?;
        let held = client.query_opt(HOLD, &[&of.id, holder, &lease.as_secs_f64()]).await;
        match held.map_err(|error| from_postgres("taking a re-index", error))? {
            Some(row) => reindexing(&row),
            None => Err(self.refused(of).await?),
        }
    }

    async fn reach(&self, of: &Reindexing, topic: &str, phase: ReindexPhase) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let (ends, follows) = (phase.is_end(), phase.is_followed());
        let reached = client
            .query_one(
                REACH,
                &[&of.id, &self.config.holder, &phase.name(), &ends, &follows, &subscription(&of.index), &topic],
            )
            .await
            .map_err(|error| from_postgres("recording how far a re-index is", error))?;
        if reached.get(0) { Ok(()) } else { Err(self.refused(of).await?) }
    }

    async fn release(&self, of: &Reindexing, problem: Option<&str>) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let released = client.execute(RELEASE, &[&of.id, &self.config.holder, &problem]).await;
        released.map(drop).map_err(|error| from_postgres("letting a re-index go", error))
    }

    async fn committed(&self) -> Result<String, Error> {
        let client = self.database.timed().await?;
        let row = client.query_one("select pg_current_snapshot()::text", &[]).await;
        Ok(row.map_err(|error| from_postgres("looking at what is committed", error))?.get(0))
    }

    async fn has_passed(&self, of: &Reindexing, committed: &str) -> Result<bool, Error> {
        let client = self.database.timed().await?;
        let row = client.query_opt(HAS_PASSED, &[&subscription(&of.index), &committed]).await;
        let row = row.map_err(|error| from_postgres("looking how far live changes are", error))?;
        row.map(|row| row.get(0)).ok_or_else(|| {
            Error::new(ErrorKind::Fenced, format!("the subscription {:?} is gone", subscription(&of.index)))
        })
    }
}

fn subscription(index: &str) -> String {
    Reindexing::subscription_of(index)
}

fn reindexing(row: &Row) -> Result<Reindexing, Error> {
    let shape = "outbox.reindexes is not of the shape the migrations gave it";
    let unreadable = |error| Error::new(ErrorKind::Configuration, shape).with_source(error);
    let phase: &str = row.try_get(5).map_err(unreadable)?;
    let known = ReindexPhase::ALL.into_iter().find(|known| known.name() == phase);
    Ok(Reindexing {
        id: row.try_get(0).map_err(unreadable)?,
        index: row.try_get(1).map_err(unreadable)?,
        old: row.try_get(2).map_err(unreadable)?,
        new: row.try_get(3).map_err(unreadable)?,
        mapping: row.try_get(4).map_err(unreadable)?,
        phase: known.ok_or_else(|| Error::new(ErrorKind::Configuration, format!("{shape}: phase {phase:?}")))?,
        problem: row.try_get(6).map_err(unreadable)?,
        began_at: row.try_get(7).map_err(unreadable)?,
    })
}

const UNFINISHED: &str = "
select id, reader, old_index, new_index, mapping, phase, problem, began_at
  from outbox.reindexes
 where reader = $1 and ended_at is null";

/// A subscription of that name is left from nobody: its re-index is over.
const BEGIN: &str = "
with begun as (
    insert into outbox.reindexes (reader, old_index, new_index, mapping, holder, held_until)
    values ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6))
    on conflict (reader) where ended_at is null do nothing
    returning id, reader, old_index, new_index, mapping, phase, problem, began_at),
follows as (
    insert into outbox.subscriptions as s (name, topics, lo)
    select $7, array[$8], pg_current_snapshot()::text from begun
    on conflict (name) do update
       set topics = excluded.topics, lo = excluded.lo, hi = null, last = 0, ledger_from = null,
           lease_term = s.lease_term + 1)
select * from begun";

/// A claim that lasts much longer than any is one of before the clock was set back.
const HOLD: &str = "
update outbox.reindexes
   set holder = $2, held_until = clock_timestamp() + make_interval(secs => $3)
 where id = $1 and ended_at is null
   and (holder is null or holder = $2 or held_until <= clock_timestamp()
        or held_until > clock_timestamp() + 2 * make_interval(secs => $3))
returning id, reader, old_index, new_index, mapping, phase, problem, began_at";

const HELD: &str = "
select coalesce(holder, 'nobody'), coalesce(greatest(0, ceil(extract(epoch from held_until - clock_timestamp()))), 0)::bigint
  from outbox.reindexes
 where id = $1 and ended_at is null";

const REACH: &str = "
with reached as (
    update outbox.reindexes
       set phase = $3, problem = null, updated_at = clock_timestamp(),
           ended_at = case when $4 then clock_timestamp() end
     where id = $1 and holder = $2 and ended_at is null
    returning id),
follows as (
    insert into outbox.subscriptions (name, topics, lo)
    select $6, array[$7], pg_current_snapshot()::text from reached where $5
    on conflict (name) do nothing),
leaves as (
    delete from outbox.subscriptions where name = $6 and not $5 and exists (select from reached))
select exists (select from reached)";

const RELEASE: &str = "
update outbox.reindexes
   set holder = null, held_until = null, problem = $3, updated_at = clock_timestamp()
 where id = $1 and holder = $2";

/// What is committed and not behind the position, as for the lag.
const HAS_PASSED: &str = "
select not exists (
           select from outbox.events e
            where (e.xid >= pg_snapshot_xmax(s.lo::pg_snapshot)
                   or e.xid = any (array(select pg_snapshot_xip(s.lo::pg_snapshot))))
              and e.xid < pg_snapshot_xmax($2::text::pg_snapshot)
              and not pg_visible_in_snapshot(e.xid, s.lo::pg_snapshot)
              and pg_visible_in_snapshot(e.xid, $2::text::pg_snapshot)
              and not coalesce(e.id <= s.last and pg_visible_in_snapshot(e.xid, s.hi::pg_snapshot), false)
              and (s.topics is null or e.topic = any (s.topics)))
  from outbox.subscriptions s
 where s.name = $1";
