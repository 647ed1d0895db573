//! Sagas in the tables `outbox.sagas` and `outbox.saga_log`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connect::{Postgres, Timed};
use super::error::from_postgres;
use super::holder::this_process;
use crate::error::{Error, ErrorKind};
use crate::port::{HeldSaga, PastSaga, Saga, SagaClaim, SagaEnding, SagaEvent, SagaLog, SagaOrder, SagaOutcome, Sagas};

/// Who works on sagas, and what their ends mean to the application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SagasConfig {
    /// By whom sagas are held: different for every process, the same for the life of one; [`this_process`] unless said.
    pub holder: String,
    /// How long after it was last heard of a saga is left to whoever holds it; 15 seconds unless said.
    pub lease: Duration,
    /// What is done in the transaction that ends a saga, by kind; nothing unless said.
    pub endings: BTreeMap<String, EndingStatements>,
}

impl Default for SagasConfig {
    fn default() -> Self {
        Self { holder: this_process(), lease: Duration::from_secs(15), endings: BTreeMap::new() }
    }
}

setters! {
    SagasConfig {
        holder: into String,
        lease: Duration,
        endings: BTreeMap<String, EndingStatements>,
    }
}

/// One statement for each way to end. Its one parameter is a `jsonb` object: `saga`, `kind`, `subject`, `params`, `outputs`
/// (by step), `error` (null when all is done) and `left` (why steps could not be undone, by step).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndingStatements {
    /// When all of it is done; none unless said. Where it is refused, the saga is taken back.
    pub done: Option<EndingStatement>,
    /// When all of it was taken back; none unless said.
    pub compensated: Option<EndingStatement>,
}

setters! {
    EndingStatements {
        done: maybe EndingStatement,
        compensated: maybe EndingStatement,
    }
}

/// SQL of the application's, and what whoever wrote it calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndingStatement {
    /// Where it is found, a setting say; errors name it.
    pub name: String,
    /// The statement.
    pub sql: String,
}

impl EndingStatement {
    /// This statement under this name.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { name: name.into(), sql: sql.into() }
    }
}

/// Keeps sagas in PostgreSQL.
#[derive(Debug)]
pub struct PostgresSagas {
    database: Postgres,
    config: SagasConfig,
}

impl PostgresSagas {
    /// Connects when it is used.
    #[must_use]
    pub fn new(database: Postgres, config: SagasConfig) -> Self {
        Self { database, config }
    }

    /// The statement of a saga's kind for this outcome.
    fn statement(&self, kind: &str, outcome: SagaOutcome) -> Option<&EndingStatement> {
        let statements = self.config.endings.get(kind)?;
        match outcome {
            SagaOutcome::Done => statements.done.as_ref(),
            SagaOutcome::Compensated => statements.compensated.as_ref(),
        }
    }

    async fn end_in(&self, client: &Timed, claim: SagaClaim, ending: &SagaEnding) -> Result<(), Error> {
        let failed = |error| not_ended(from_postgres("ending a saga", error));
        let holder = &self.config.holder;
        let held = client.query_opt(ENDING, &[&claim.id, &claim.term, holder]).await.map_err(failed)?;
        let row = held.ok_or_else(|| gone(claim))?;
        let (kind, is_untold): (String, bool) =
            (row.try_get(0).map_err(unreadable)?, row.try_get(3).map_err(unreadable)?);
        // The application's rows first, the saga's then: in this order the application locks them too.
        if let Some(statement) = self.statement(&kind, ending.outcome).filter(|_| !is_untold) {
            let (subject, params): (String, Value) =
                (row.try_get(1).map_err(unreadable)?, row.try_get(2).map_err(unreadable)?);
            let told = storable(&json!({
                "saga": claim.id,
                "kind": kind,
                "subject": subject,
                "params": params,
                "outputs": ending.outputs,
                "error": ending.error,
                "left": ending.left,
            }))?;
            let refused = |error| {
                let EndingStatement { name, .. } = statement;
                from_postgres(format!("{name}, for {kind} of {subject} that is {}", ending.outcome.name()), error)
            };
            // Typed, so that the statement need not say what its parameter is.
            client.query_typed(&statement.sql, &[(&told, Type::JSONB)]).await.map_err(refused)?;
        }
        let ended =
            client.execute(END, &[&claim.id, &claim.term, holder, &ending.outcome.name()]).await.map_err(failed)?;
        if ended == 0 {
            return Err(gone(claim));
        }
        client.commit().await.map_err(failed)
    }
}

/// Whatever is wrong with us, our credentials or our own statements, a schema that is not migrated yet say, is no refusal of the
/// application's: nothing is to be taken back for it.
fn not_ended(error: Error) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string()).with_source(error)
}

#[async_trait]
impl Sagas for PostgresSagas {
    async fn begin(&self, order: &SagaOrder) -> Result<i64, Error> {
        let SagaOrder { kind, subject, params, time_allowed } = order;
        let client = self.database.timed().await?;
        let begun = client.query_one(BEGIN, &[kind, subject, params, &time_allowed.as_secs_f64()]).await;
        begun.map_err(|error| from_postgres("beginning a saga", error))?.try_get(0).map_err(unreadable)
    }

    async fn cancel(&self, kind: &str, subject: &str, why: &str) -> Result<bool, Error> {
        let client = self.database.timed().await?;
        let cancelled = client.query_one("select outbox.cancel_saga($1, $2, $3)", &[&kind, &subject, &why]).await;
        cancelled.map_err(|error| from_postgres("cancelling a saga", error))?.try_get(0).map_err(unreadable)
    }

    async fn end_untold(&self, kind: &str, subject: &str) -> Result<bool, Error> {
        let client = self.database.timed().await?;
        let ended = client.query_one("select outbox.end_saga_untold($1, $2)", &[&kind, &subject]).await;
        ended.map_err(|error| from_postgres("ending a saga untold", error))?.try_get(0).map_err(unreadable)
    }

    async fn list(&self, subject: Option<&str>, limit: usize) -> Result<Vec<PastSaga>, Error> {
        let client = self.database.timed().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = client.query(&format!("select {SAGA}, {LIST}"), &[&subject, &limit]).await;
        rows.map_err(|error| from_postgres("reading sagas", error))?.iter().map(past).collect()
    }

    async fn purge(&self, kinds: &[&str], keep: Duration) -> Result<u64, Error> {
        let client = self.database.timed().await?;
        let purged = client.query_one(PURGE, &[&keep.as_secs_f64(), &kinds]).await;
        let purged: i64 =
            purged.map_err(|error| from_postgres("forgetting sagas", error))?.try_get(0).map_err(unreadable)?;
        Ok(purged.unsigned_abs())
    }
}

#[async_trait]
impl SagaLog for PostgresSagas {
    async fn claim(&self, kinds: &[&str], subject: Option<&str>) -> Result<Option<HeldSaga>, Error> {
        let SagasConfig { holder, lease, .. } = &self.config;
        let client = self.database.timed().await?;
        let taken = client.query_opt(CLAIM, &[&kinds, &subject, holder, &lease.as_secs_f64()]).await;
        let Some(row) = taken.map_err(|error| from_postgres("taking up a saga", error))? else { return Ok(None) };
        let id: i64 = row.try_get(0).map_err(unreadable)?;
        // Only now is nobody else's last word still on its way into the log.
        let whole = client
            .query_one(&format!("select {SAGA}, {HELD}"), &[&id])
            .await
            .map_err(|error| from_postgres("reading a saga", error))?;
        let left: f64 = whole.try_get(6).map_err(unreadable)?;
        Ok(Some(HeldSaga {
            saga: saga(&whole)?,
            term: row.try_get(1).map_err(unreadable)?,
            left: Duration::try_from_secs_f64(left).unwrap_or_default(),
        }))
    }

    fn lease(&self) -> Duration {
        self.config.lease
    }

    async fn renew(&self, claim: SagaClaim) -> Result<Option<String>, Error> {
        let client = self.database.timed().await?;
        let kept = client
            .query_opt(RENEW, &[&claim.id, &claim.term, &self.config.holder, &self.config.lease.as_secs_f64()])
            .await;
        let kept = kept.map_err(|error| from_postgres("keeping a saga", error))?;
        kept.ok_or_else(|| gone(claim))?.try_get(0).map_err(unreadable)
    }

    async fn record(&self, claim: SagaClaim, events: &[SagaEvent]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let told = storable(&events)?;
        let client = self.database.timed().await?;
        let written = client.execute(RECORD, &[&claim.id, &claim.term, &told, &self.config.holder]).await;
        match written.map_err(|error| from_postgres("writing what a saga did", error))? {
            0 => Err(gone(claim)),
            _ => Ok(()),
        }
    }

    async fn end(&self, claim: SagaClaim, ending: &SagaEnding) -> Result<(), Error> {
        let client = self.database.timed().await.map_err(not_ended)?;
        client.begin().await.map_err(|error| not_ended(from_postgres("ending a saga", error)))?;
        let ended = self.end_in(&client, claim, ending).await;
        if ended.is_err() {
            client.rollback().await;
        }
        ended
    }

    async fn release(&self, claim: SagaClaim, pause: Duration) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let released =
            client.execute(RELEASE, &[&claim.id, &claim.term, &self.config.holder, &pause.as_secs_f64()]).await;
        match released.map_err(|error| from_postgres("letting a saga go", error))? {
            0 => Err(gone(claim)),
            _ => Ok(()),
        }
    }
}

/// As JSON that the database takes: text of the world may hold a NUL, which no text there may.
fn storable(told: &impl Serialize) -> Result<Value, Error> {
    let stored = || serde_json::from_str(&serde_json::to_string(told)?.replace("\\u0000", "\\ufffd"));
    stored().map_err(|error: serde_json::Error| {
        Error::new(ErrorKind::Internal, "writing what a saga did").with_source(error)
    })
}

fn gone(claim: SagaClaim) -> Error {
    let what = format!("saga {} is over, or another process goes on with it", claim.id);
    Error::new(ErrorKind::Fenced, what)
}

fn saga(row: &Row) -> Result<Saga, Error> {
    let log: Value = row.try_get(5).map_err(unreadable)?;
    let log = Vec::<SagaEvent>::deserialize(log).map_err(|error| {
        let what = "reading outbox.saga_log: not written by a program of this version or an earlier one";
        Error::new(ErrorKind::Configuration, what).with_source(error)
    })?;
    let read = || -> Result<Saga, tokio_postgres::Error> {
        Ok(Saga {
            id: row.try_get(0)?,
            kind: row.try_get(1)?,
            subject: row.try_get(2)?,
            params: row.try_get(3)?,
            cancelled: row.try_get(4)?,
            log,
        })
    };
    read().map_err(unreadable)
}

fn past(row: &Row) -> Result<PastSaga, Error> {
    let outcome: Option<String> = row.try_get(6).map_err(unreadable)?;
    let outcomes = [SagaOutcome::Done, SagaOutcome::Compensated];
    Ok(PastSaga {
        saga: saga(row)?,
        outcome: outcomes.into_iter().find(|one| outcome.as_deref() == Some(one.name())),
        holder: row.try_get(7).map_err(unreadable)?,
        began_at: row.try_get(8).map_err(unreadable)?,
        ended_at: row.try_get(9).map_err(unreadable)?,
    })
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    let what = "reading outbox.sagas: not of the shape the migrations gave it";
    Error::new(ErrorKind::Configuration, what).with_source(error)
}

const BEGIN: &str = "select outbox.begin_saga($1, $2, $3, make_interval(secs => $4))";

const PURGE: &str = "select outbox.purge_sagas(make_interval(secs => $1), $2)";

/// A claim that lasts much longer than any does is one of before the clock was set back.
const CLAIM: &str = "
with due as (
    select s.id
      from outbox.sagas s
     where s.ended_at is null and s.kind = any($1) and ($2::text is null or s.subject = $2)
       and (s.held_until is null or s.held_until <= clock_timestamp()
            or s.held_until > clock_timestamp() + greatest(interval '1 hour', 2 * make_interval(secs => $4)))
       and not exists (select from outbox.sagas earlier
                        where earlier.subject = s.subject and earlier.ended_at is null and earlier.id < s.id)
     order by coalesce(s.held_until, s.began_at), s.id
     limit 1
       for update skip locked)
update outbox.sagas s
   set holder = $3, term = s.term + 1, held_until = clock_timestamp() + make_interval(secs => $4)
  from due
 where s.id = due.id
returning s.id, s.term";

/// The columns of a saga, with all of its log.
const SAGA: &str = "
    s.id, s.kind, s.subject, s.params, s.cancelled,
    (select coalesce(jsonb_agg(jsonb_build_object('event', l.event, 'step', l.step, 'attempt', l.attempt,
                                                  'detail', l.detail) order by l.id), '[]')
       from outbox.saga_log l where l.saga = s.id)";

const HELD: &str = "
    greatest(0, extract(epoch from s.deadline - clock_timestamp()))::float8
  from outbox.sagas s
 where s.id = $1";

const LIST: &str = "
    s.outcome, s.holder, s.began_at, s.ended_at
  from outbox.sagas s
 where $1::text is null or s.subject = $1
 order by s.id desc
 limit $2";

const RENEW: &str = "
update outbox.sagas set held_until = clock_timestamp() + make_interval(secs => $4)
 where id = $1 and term = $2 and holder = $3 and ended_at is null
returning cancelled";

/// The lock makes a take-over wait, or this statement see it.
const RECORD: &str = "
with held as (select id from outbox.sagas where id = $1 and term = $2 and holder = $4 and ended_at is null for share)
insert into outbox.saga_log (saga, event, step, attempt, detail)
select held.id, told.event, told.step, told.attempt, told.detail
  from held, rows from (jsonb_to_recordset($3) as (event text, step text, attempt int, detail jsonb))
             with ordinality as told (event, step, attempt, detail, place)
 order by told.place";

const ENDING: &str = "
select kind, subject, params, untold from outbox.sagas where id = $1 and term = $2 and holder = $3 and ended_at is null";

const END: &str = "
update outbox.sagas set outcome = $4, holder = null, held_until = null, ended_at = clock_timestamp()
 where id = $1 and term = $2 and holder = $3 and ended_at is null";

const RELEASE: &str = "
update outbox.sagas set holder = null, held_until = clock_timestamp() + make_interval(secs => $4)
 where id = $1 and term = $2 and holder = $3 and ended_at is null";
