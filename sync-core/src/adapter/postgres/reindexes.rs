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
#[non_exhaustive]
pub struct ReindexesConfig {
    /// By whom re-indexes are held: different for all that may be at work at once, those of one process too, to which
    /// [`this_process`](super::this_process) gives a beginning. Two that say the same hold one re-index at once.
    pub holder: String,
    /// How long after it was last held a re-index is left to whoever holds it; 15 seconds unless said.
    pub lease: Duration,
}

impl ReindexesConfig {
    /// For this holder; a re-index is left to it for 15 seconds.
    #[must_use]
    pub fn new(holder: impl Into<String>) -> Self {
        Self { holder: holder.into(), lease: Duration::from_secs(15) }
    }
}

setters! {
    ReindexesConfig {
        lease: Duration,
    }
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
            let what = format!("the re-index of {} is over: another process ended it", of.about.index);
            return Ok(Error::new(ErrorKind::Configuration, what));
        };
        let (by, seconds): (String, i64) = (row.get(0), row.get(1));
        let what = format!(
            "the re-index of {} is in the hands of {by}; if that process is gone, it is taken up in {seconds} s",
            of.about.index
        );
        Ok(Error::new(ErrorKind::Fenced, what))
    }
}

#[async_trait]
impl Reindexes for PostgresReindexes {
    async fn unfinished(&self, index: &str) -> Result<Option<Reindexing>, Error> {
        let client = self.database.timed().await?;
        let sql = format!("select {COLUMNS} from outbox.reindexes where reader = $1 and ended_at is null");
        let row = client.query_opt(&sql, &[&index]).await;
        row.map_err(|error| from_postgres("looking for a re-index", error))?.as_ref().map(reindexing).transpose()
    }

    async fn names(&self, index: &str) -> Result<Vec<String>, Error> {
        let client = self.database.timed().await?;
        let rows = client.query("select new_index from outbox.reindexes where reader = $1", &[&index]).await;
        let rows = rows.map_err(|error| from_postgres("looking for re-indexes", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn begin(&self, of: &ReindexOf) -> Result<Reindexing, Error> {
        let ReindexOf { index, topic, old, new, mapping } = of;
        let ReindexesConfig { holder, lease } = &self.config;
        let client = self.database.timed().await?;
        let begun = client
            .query_opt(
                &format!("{BEGIN} select {COLUMNS} from begun"),
                &[index, topic, old, new, mapping, holder, &lease.as_secs_f64()],
            )
            .await
            .map_err(|error| from_postgres("beginning a re-index", error))?;
        if let Some(row) = begun {
            return reindexing(&row);
        }
        // Its answer may have been lost.
        match self.unfinished(index).await? {
            Some(there) if there.about == *of => self.hold(&there).await,
            _ => Err(Error::new(ErrorKind::Fenced, format!("a re-index of {index} was begun by another process"))),
        }
    }

    async fn hold(&self, of: &Reindexing) -> Result<Reindexing, Error> {
        let ReindexesConfig { holder, lease } = &self.config;
        let client = self.database.timed().await?;
        let sql = format!("{HOLD} returning {COLUMNS}");
        let held = client.query_opt(&sql, &[&of.id, holder, &lease.as_secs_f64()]).await;
        match held.map_err(|error| from_postgres("taking a re-index", error))? {
            Some(row) => reindexing(&row),
            None => Err(self.refused(of).await?),
        }
    }

    async fn reach(&self, of: &Reindexing, phase: ReindexPhase) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let (ends, follows) = (phase.is_end(), phase.is_followed());
        let then = Reindexing { phase, ..of.clone() };
        let turns = phase == ReindexPhase::Returning;
        let reached = client
            .query_one(
                REACH,
                &[
                    &of.id,
                    &self.config.holder,
                    &phase.name(),
                    &ends,
                    &turns,
                    &then.subscription(),
                    &of.about.topic,
                    &(!follows || turns),
                    &of.subscription(),
                ],
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
        let row = client.query_opt(HAS_PASSED, &[&of.subscription(), &committed]).await;
        let row = row.map_err(|error| from_postgres("looking how far live changes are", error))?;
        row.map(|row| row.get(0)).ok_or_else(|| {
            let what = format!(
                "the subscription {:?} is gone, so that live changes were missed: give the re-index up with --abort and begin anew",
                of.subscription()
            );
            Error::new(ErrorKind::Configuration, what)
        })
    }
}

fn reindexing(row: &Row) -> Result<Reindexing, Error> {
    let shape = "outbox.reindexes is not of the shape the migrations gave it";
    let unreadable = |error| Error::new(ErrorKind::Configuration, shape).with_source(error);
    let text = |column: usize| row.try_get(column).map_err(unreadable);
    let about = ReindexOf { index: text(1)?, topic: text(2)?, old: text(3)?, new: text(4)?, mapping: text(5)? };
    let phase: String = text(6)?;
    let known = ReindexPhase::ALL.iter().copied().find(|known| known.name() == phase);
    Ok(Reindexing {
        id: row.try_get(0).map_err(unreadable)?,
        about,
        phase: known.ok_or_else(|| Error::new(ErrorKind::Configuration, format!("{shape}: phase {phase:?}")))?,
        problem: row.try_get(7).map_err(unreadable)?,
        began_at: row.try_get(8).map_err(unreadable)?,
    })
}

const COLUMNS: &str = "id, reader, topic, old_index, new_index, mapping, phase, problem, began_at";

const BEGIN: &str = "
with begun as (
    insert into outbox.reindexes (reader, topic, old_index, new_index, mapping, holder, held_until)
    values ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
    on conflict (reader) where ended_at is null do nothing
    returning *),
follows as (
    insert into outbox.subscriptions (name, topics, lo)
    select 'reindex ' || id || ' of ' || reader, array[topic], pg_current_snapshot()::text from begun)";

/// A claim that lasts much longer than any is one of before the clock was set back.
const HOLD: &str = "
update outbox.reindexes
   set holder = $2, held_until = clock_timestamp() + make_interval(secs => $3)
 where id = $1 and ended_at is null
   and (holder is null or holder = $2 or held_until <= clock_timestamp()
        or held_until > clock_timestamp() + 2 * make_interval(secs => $3))";

const HELD: &str = "
select coalesce(holder, 'nobody'), coalesce(greatest(0, ceil(extract(epoch from held_until - clock_timestamp()))), 0)::bigint
  from outbox.reindexes
 where id = $1 and ended_at is null";

/// Again, where its answer was lost.
const REACH: &str = "
with reached as (
    update outbox.reindexes
       set phase = $3, problem = null, updated_at = clock_timestamp(),
           ended_at = case when $4 then clock_timestamp() end
     where id = $1 and holder = $2 and (ended_at is null or phase = $3)
    returning id),
follows as (
    insert into outbox.subscriptions (name, topics, lo)
    select $6, array[$7], pg_current_snapshot()::text from reached where $5
    on conflict (name) do nothing),
leaves as (
    delete from outbox.subscriptions where name = $9 and $8 and name <> case when $5 then $6 else '' end
       and exists (select from reached))
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
