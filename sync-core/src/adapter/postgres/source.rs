//! The outbox as a source: windows between two snapshots, one reader at a time.

mod cursor;
mod ledger;
mod linger;
mod reader;
mod retention;
mod rewind;
mod wake;
mod window;

pub use rewind::Rewound;
#[cfg(feature = "testkit")]
pub use window::read_headers;

use std::time::Duration;

use async_trait::async_trait;

use self::cursor::PostgresCursor;
use self::reader::PostgresReader;
use super::connect::{Postgres, Session};
use super::error::from_postgres;
use super::history;
use super::holder::this_process;
use crate::error::{Error, ErrorKind};
use crate::port::{Feed, History, Position, Source, SourceLag};

/// How one subscription reads the outbox.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceConfig {
    /// The subscription's name; `search` unless said. It has one position and one lease.
    pub subscription: String,
    /// Only events of these topics; `None` unless said, which is all. Whoever opened the subscription last decides; with
    /// more topics than before it begins anew, so that their earlier events come too.
    pub topics: Option<Vec<String>>,
    /// By whom the lease is held: different for every process, the same for the life of one; [`this_process`] unless said.
    pub holder: String,
    /// How long the lease lasts without a renewal; 10 seconds unless said.
    pub lease: Duration,
    /// Events in one batch, at most; 1,000 unless said.
    pub batch_events: usize,
    /// Bytes of keys, payloads and headers in one batch, about; 4 MiB unless said. The event that passes it is the batch's
    /// last.
    pub batch_bytes: usize,
    /// Bytes of the largest payload that is read; 4 MiB unless said. A relay has some 25 of them in memory at most.
    pub max_payload: usize,
    /// What becomes of an event whose payload is larger; [`LargePayload::Withhold`] unless said.
    pub large_payload: LargePayload,
    /// While commits come steadily, how long to wait for more of them before the next window, at most; 10 milliseconds
    /// unless said. Within that it is half of what the last window took for each of its events, up to eight. Every window
    /// costs the database, however little is in it. Zero waits never.
    pub linger: Duration,
    /// How often to look when nothing rings, as a safety net; every second unless said.
    pub poll_interval: Duration,
    /// How long events are kept at least, in whole days (UTC), for whoever wants them repeated; 7 days unless said.
    pub retention: Duration,
    /// Whether the subscription is made where there is none; `true` unless said. One that somebody else makes and takes
    /// away is not: a relay that is still at work then stands by.
    pub subscribes: bool,
}

/// What becomes of an event whose payload is too large to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargePayload {
    /// It is [`Withheld`](crate::port::Withheld): the relay parks it, with all it carries, and a person decides.
    Withhold,
    /// It comes without its payload: for a bus whose readers look at keys only.
    Omit,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            subscription: "search".to_owned(),
            topics: None,
            holder: this_process(),
            lease: Duration::from_secs(10),
            batch_events: 1_000,
            batch_bytes: 4 << 20,
            max_payload: 4 << 20,
            large_payload: LargePayload::Withhold,
            linger: Duration::from_millis(10),
            poll_interval: Duration::from_secs(1),
            retention: Duration::from_secs(7 * 24 * 3_600),
            subscribes: true,
        }
    }
}

setters! {
    SourceConfig {
        subscription: into String,
        topics: maybe Vec<String>,
        holder: into String,
        lease: Duration,
        batch_events: usize,
        batch_bytes: usize,
        max_payload: usize,
        large_payload: LargePayload,
        linger: Duration,
        poll_interval: Duration,
        retention: Duration,
        subscribes: bool,
    }
}

/// Reads `outbox.events` for one subscription.
#[derive(Debug)]
pub struct PostgresSource {
    database: Postgres,
    config: SourceConfig,
}

impl PostgresSource {
    /// A source that connects when it is opened.
    #[must_use]
    pub fn new(database: Postgres, config: SourceConfig) -> Self {
        Self { database, config }
    }
}

/// What a subscription's row says once the lease is taken.
struct Taken {
    term: i64,
    bell: i32,
    position: Position,
}

#[async_trait]
impl Source for PostgresSource {
    async fn open(&self) -> Result<Feed, Error> {
        let (taken, History { epoch, .. }, reading, recording) = self.connect(false).await?;
        let cursor = PostgresCursor::new(recording, &self.config, taken.term).await?;
        let reader = PostgresReader::new(reading, &self.config, taken.bell, taken.position, None).await?;
        Ok(Feed { reader: Box::new(reader), cursor: Box::new(cursor), epoch })
    }

    async fn lag(&self) -> Result<SourceLag, Error> {
        let doing = "reading the lag of the outbox";
        let client = self.database.timed().await?;
        let row =
            client.query_opt(LAG, &[&self.config.subscription]).await.map_err(|error| from_postgres(doing, error))?;
        let Some(row) = row else {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "relay.subscription: the outbox has no subscription {:?} yet; the relay makes it when it first runs",
                    self.config.subscription
                ),
            ));
        };
        let events: i64 = row.get(0);
        let seconds: f64 = row.get(1);
        Ok(SourceLag {
            events: u64::try_from(events).unwrap_or_default(),
            age: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        })
    }

    async fn maintain(&self) -> Result<(), Error> {
        let client = self.database.timed().await?;
        // Old leaves have to go also where those of the days ahead cannot be made, for want of space perhaps.
        let made = retention::make_leaves(&client).await;
        let given_up = retention::apply(&client, self.config.retention).await;
        match (made, given_up) {
            (Err(first), Err(second)) => Err(Error::new(first.kind(), format!("{first}; {second}"))),
            (made, given_up) => made.and(given_up),
        }
    }
}

impl PostgresSource {
    /// Takes the lease: with it the history, and the sessions that read and record.
    async fn connect(&self, keeps_ledger: bool) -> Result<(Taken, History, Session, Session), Error> {
        let reading = self.database.session().await?;
        let recording = self.database.session().await?;
        // Events are found by index however fresh a leaf's statistics are; compiling a query costs more than running
        // it; a large window may take longer than a role's time-out for its statements; and a position lost in a crash
        // only repeats events, so its commit need not wait for the disk.
        settings(&reading, "set enable_seqscan = off; set jit = off; set statement_timeout = 0").await?;
        settings(&recording, "set synchronous_commit = off").await?;
        refuse_standby(&reading).await?;
        let history = history::note(&recording.client).await?;
        let taken = self.take(&recording, &history.token, keeps_ledger).await?;
        Ok((taken, history, reading, recording))
    }

    /// Takes the lease in one statement; its answer carries the position as the database holds it now.
    async fn take(&self, session: &Session, token: &str, keeps_ledger: bool) -> Result<Taken, Error> {
        let name = &self.config.subscription;
        let doing = format!("taking the lease of subscription {name:?}");
        session
            .client
            .execute(
                // Asked first, because a relay that stands by would use up an id at every try.
                "insert into outbox.subscriptions (name, topics) select $1, $2
                  where $3 and not exists (select from outbox.subscriptions where name = $1)
                     on conflict (name) do nothing",
                &[name, &self.config.topics, &self.config.subscribes],
            )
            .await
            .map_err(|error| from_postgres(doing.as_str(), error))?;
        let row = session
            .client
            .query_opt(
                TAKE,
                &[
                    name,
                    &self.config.holder,
                    &self.config.lease.as_secs_f64(),
                    &token,
                    &self.config.topics,
                    &keeps_ledger,
                ],
            )
            .await
            .map_err(|error| from_postgres(doing.as_str(), error))?;
        let Some(row) = row else {
            return Err(Error::new(ErrorKind::Fenced, format!("{doing}: another relay holds it; this one stands by")));
        };
        if row.get(5) {
            tracing::warn!(subscription = name, "it wants more topics than before: all retained events come again");
        }
        Ok(Taken {
            term: row.get(0),
            bell: row.get(1),
            position: Position { lo: row.get(2), hi: row.get(3), last: row.get(4) },
        })
    }
}

async fn settings(session: &Session, statements: &str) -> Result<(), Error> {
    session.client.batch_execute(statements).await.map_err(|error| from_postgres("setting up a session", error))
}

/// A standby's snapshot counts open transactions as done: a window between two of them loses events.
async fn refuse_standby(session: &Session) -> Result<(), Error> {
    let row = session
        .client
        .query_one("select pg_is_in_recovery()", &[])
        .await
        .map_err(|error| from_postgres("asking PostgreSQL whether it is the primary", error))?;
    if row.get(0) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "postgres.url: this server is a standby; the relay reads from the primary",
        ));
    }
    Ok(())
}

/// A lease that lasts longer than twice what it was given for is from before the clock was set back: its holder would
/// have renewed it. Bound to the time it names, the next relay would stand by for as long as the clock was wrong.
///
/// A subscription that wants more topics than before begins anew: it passed their events without publishing them. From
/// then on, and once it was read without a ledger, positions kept elsewhere no longer count.
const TAKE: &str = "
with before as (
    select topics is not null and not coalesce($5 <@ topics, false) as grown
      from outbox.subscriptions where name = $1)
update outbox.subscriptions
   set lease_holder = $2, lease_term = lease_term + 1,
       lease_until = clock_timestamp() + make_interval(secs => $3), lease_for = make_interval(secs => $3),
       history = $4::text::uuid, topics = $5, updated_at = clock_timestamp(),
       lo = case when grown then '1:1:' else lo end,
       hi = case when not grown then hi end,
       last = case when grown then 0 else last end,
       ledger_from = case when $6 and not grown then ledger_from end
  from before
 where name = $1
   and (lease_holder is null or lease_holder = $2 or lease_until < clock_timestamp()
        or lease_until > clock_timestamp() + 2 * lease_for)
returning lease_term, id, lo, hi, last, grown";

/// Counts what the position has not passed, up to a million.
const LAG: &str = "
select l.events, greatest(coalesce(extract(epoch from clock_timestamp() - l.oldest), 0), 0)::float8
  from outbox.subscriptions s,
       lateral (select count(*) as events, min(e.created_at) as oldest
                  from (select created_at
                          from outbox.events
                         where (xid >= pg_snapshot_xmax(s.lo::pg_snapshot)
                                or xid = any (array(select pg_snapshot_xip(s.lo::pg_snapshot))))
                           and not pg_visible_in_snapshot(xid, s.lo::pg_snapshot)
                           and not coalesce(id <= s.last and pg_visible_in_snapshot(xid, s.hi::pg_snapshot), false)
                           and (s.topics is null or topic = any (s.topics))
                         limit 1000000) e) l
 where s.name = $1";
