//! Runs in the table `outbox.runs`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

use super::connect::Postgres;
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{PastRun, Run, RunKind, RunState, Runs};

/// Who works on runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunsConfig {
    /// By whom runs are held: different for all that may be at work at once, those of one process too, to which
    /// [`this_process`](super::this_process) gives a beginning. Two that say the same hold one run at once.
    pub holder: String,
    /// How long after its last record a run is left to whoever holds it; 15 seconds unless said.
    pub lease: Duration,
}

impl RunsConfig {
    /// For this holder; a run is left to it for 15 seconds.
    #[must_use]
    pub fn new(holder: impl Into<String>) -> Self {
        Self { holder: holder.into(), lease: Duration::from_secs(15) }
    }
}

setters! {
    RunsConfig {
        lease: Duration,
    }
}

/// Keeps runs in PostgreSQL.
#[derive(Debug)]
pub struct PostgresRuns {
    database: Postgres,
    config: RunsConfig,
}

/// What becomes of a run that is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    LetGo,
    End,
}

impl PostgresRuns {
    /// Connects when it is used.
    #[must_use]
    pub fn new(database: Postgres, config: RunsConfig) -> Self {
        Self { database, config }
    }

    async fn update(&self, run: &Run, then: Then) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let (counts, lease) = (Value::from_iter(run.counts.clone()), self.config.lease.as_secs_f64());
        let (lets_go, ends) = (then == Then::LetGo, then == Then::End);
        let updated = client
            .execute(UPDATE, &[&run.id, &self.config.holder, &run.after, &counts, &lease, &lets_go, &ends])
            .await
            .map_err(|error| from_postgres("recording a run", error))?;
        if updated == 0 {
            let what = format!("run {} of outbox.runs is over, or another process goes on with it", run.id);
            return Err(Error::new(ErrorKind::Fenced, what));
        }
        Ok(())
    }
}

#[async_trait]
impl Runs for PostgresRuns {
    async fn begin(&self, kind: RunKind, index: &str) -> Result<Run, Error> {
        let failed = |error| from_postgres("beginning a run", error);
        let client = self.database.timed().await?;
        let RunsConfig { holder, lease } = &self.config;
        let begun =
            client.query_opt(BEGIN, &[&kind.name(), &index, holder, &lease.as_secs_f64()]).await.map_err(failed)?;
        if let Some(row) = begun {
            return run(&row).map_err(unreadable);
        }
        let held = client.query_opt(HELD, &[&kind.name(), &index]).await.map_err(failed)?;
        let (by, seconds): (String, i64) = held.map_or_else(Default::default, |row| (row.get(0), row.get(1)));
        let what = format!(
            "a {} of {index} is in the hands of {by}; if that process is gone, it is taken up in {seconds} s",
            kind.name()
        );
        Err(Error::new(ErrorKind::Fenced, what))
    }

    async fn record(&self, run: &Run) -> Result<(), Error> {
        self.update(run, Then::GoOn).await
    }

    async fn release(&self, run: &Run) -> Result<(), Error> {
        self.update(run, Then::LetGo).await
    }

    async fn finish(&self, run: &Run) -> Result<(), Error> {
        self.update(run, Then::End).await
    }

    async fn abandon(&self, kind: RunKind, index: &str) -> Result<bool, Error> {
        let client = self.database.timed().await?;
        let abandoned = client.execute(ABANDON, &[&kind.name(), &index]).await;
        abandoned.map(|runs| runs > 0).map_err(|error| from_postgres("giving up a run", error))
    }

    async fn list(&self, index: Option<&str>, limit: usize) -> Result<Vec<PastRun>, Error> {
        let client = self.database.timed().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = client.query(LIST, &[&index, &limit]).await.map_err(|error| from_postgres("reading runs", error))?;
        rows.iter().map(|row| past(row).map_err(unreadable)).collect()
    }
}

fn run(row: &Row) -> Result<Run, tokio_postgres::Error> {
    let counts: Value = row.try_get(2)?;
    let counts = counts.as_object().into_iter().flatten();
    let counts: BTreeMap<_, _> = counts.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
    Ok(Run { id: row.try_get(0)?, after: row.try_get(1)?, counts, began_at: row.try_get(3)? })
}

fn past(row: &Row) -> Result<PastRun, tokio_postgres::Error> {
    let ended_at: Option<Timestamp> = row.try_get(6)?;
    let state = RunState::of(row.try_get(8)?, ended_at.is_some(), row.try_get(7)?);
    Ok(PastRun { run: run(row)?, kind: row.try_get(4)?, index: row.try_get(5)?, ended_at, state })
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    let what = "reading outbox.runs: not of the shape the migrations gave it";
    Error::new(ErrorKind::Configuration, what).with_source(error)
}

/// A claim that lasts much longer than any is one of before the clock was set back.
const BEGIN: &str = "
insert into outbox.runs as held (kind, reader, holder, held_until)
values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
on conflict (kind, reader) where ended_at is null do update
   set holder = excluded.holder, held_until = excluded.held_until, updated_at = clock_timestamp()
 where held.holder is null or held.holder = excluded.holder or held.held_until <= clock_timestamp()
       or held.held_until > clock_timestamp() + 2 * make_interval(secs => $4)
returning id, after, counts, began_at";

const HELD: &str = "
select holder, greatest(0, ceil(extract(epoch from held_until - clock_timestamp())))::bigint
  from outbox.runs
 where kind = $1 and reader = $2 and ended_at is null and holder is not null";

const UPDATE: &str = "
update outbox.runs
   set after = $3, counts = $4, updated_at = clock_timestamp(),
       held_until = clock_timestamp() + make_interval(secs => $5), holder = case when not $6 then holder end,
       ended_at = case when $7 then clock_timestamp() end
 where id = $1 and holder = $2 and ended_at is null";

const ABANDON: &str = "
update outbox.runs
   set abandoned = true, updated_at = clock_timestamp(), ended_at = clock_timestamp()
 where kind = $1 and reader = $2 and ended_at is null";

const LIST: &str = "
select id, after, counts, began_at, kind, reader, ended_at, abandoned,
       coalesce(holder is not null and held_until > clock_timestamp(), false)
  from outbox.runs
 where $1::text is null or reader = $1
 order by id desc
 limit $2";
