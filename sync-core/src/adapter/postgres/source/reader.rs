//! Reads window after window.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::types::ToSql;
use tokio_postgres::{RowStream, Statement};

use super::ledger::Ledger;
use super::linger::{Window, linger};
use super::wake::Wake;
use super::window::{WINDOW, event, size, unsent};
use super::{LargePayload, SourceConfig};
use crate::adapter::postgres::connect::Session;
use crate::adapter::postgres::error::from_postgres;
use crate::error::Error;
use crate::event::Event;
use crate::port::{Batch, Mark, Position, Reader, Withheld};

/// While nothing is written for this subscription, its position is still moved this often: retention waits for it.
const IDLE_POSITION: Duration = Duration::from_secs(60);

const READING: &str = "reading the outbox";

/// Reads the outbox on a session of its own.
pub(super) struct PostgresReader {
    session: Session,
    config: SourceConfig,
    snapshot: Statement,
    window: Statement,
    wake: Wake,
    position: Position,
    open: Option<Pin<Box<RowStream>>>,
    /// When the open window was asked for, how many of its events were read, and how many the one before it had.
    asked: Instant,
    events: usize,
    before: usize,
    /// The next window is not asked for before this.
    rested: Instant,
    reported: Instant,
    /// Where windows are entered, when the position is kept elsewhere.
    ledger: Option<Ledger>,
}

impl fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReader").field("position", &self.position).finish_non_exhaustive()
    }
}

impl PostgresReader {
    pub(super) async fn new(
        session: Session,
        config: &SourceConfig,
        bell: i32,
        position: Position,
        ledger: Option<Ledger>,
    ) -> Result<Self, Error> {
        let preparing = |error| from_postgres("preparing to read the outbox", error);
        let snapshot = session.client.prepare("select pg_current_snapshot()::text").await.map_err(preparing)?;
        let window = session.client.prepare(WINDOW).await.map_err(preparing)?;
        let wake = Wake::new(&session, bell).await?;
        Ok(Self {
            session,
            config: config.clone(),
            snapshot,
            window,
            wake,
            position,
            open: None,
            asked: Instant::now(),
            events: 0,
            before: 0,
            rested: Instant::now(),
            reported: Instant::now(),
            ledger,
        })
    }

    /// Starts reading the window that is to be read next; `false` when there is nothing new.
    async fn open_window(&mut self) -> Result<bool, Error> {
        if self.position.hi.is_none() {
            sleep_until(self.rested).await;
            (self.asked, self.before, self.events) = (Instant::now(), self.events, 0);
            let row = self.session.client.query_one(&self.snapshot, &[]).await;
            let row = row.map_err(|failure| from_postgres(READING, failure))?;
            let hi: String = row.get(0);
            if hi == self.position.lo {
                return Ok(false);
            }
            self.position.hi = Some(hi);
            self.position.last = 0;
        }
        let most = i64::try_from(self.config.max_payload).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&self.position.lo, &self.position.hi, &self.position.last, &self.config.topics, &most];
        let rows = self.session.rows(READING, &self.window, &parameters).await?;
        self.open = Some(Box::pin(rows));
        Ok(true)
    }

    /// Reads events of the open window, up to a batch; leaves the window when all of it is read.
    async fn gather(&mut self) -> Result<(Vec<Event>, Vec<Withheld>), Error> {
        let (mut events, mut withheld) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        // Rows come as fast as they are taken; the server keeps the rest of the window, sorted, on its disk.
        while let Some(rows) = &mut self.open {
            let Some(row) = self.session.patiently(READING, rows.try_next()).await? else {
                self.close_window();
                break;
            };
            let event = event(&row)?;
            self.position.last = event.id;
            self.events += 1;
            bytes += size(&event);
            match unsent(&row, &event)? {
                Some(bytes) if self.config.large_payload == LargePayload::Withhold => {
                    let limit = format!("{} (relay.max_payload, `SourceConfig::max_payload`)", self.config.max_payload);
                    withheld.push(Withheld { id: event.id, topic: event.topic, key: event.key, bytes, limit });
                }
                Some(_) | None => events.push(event),
            }
            if events.len() + withheld.len() >= self.config.batch_events || bytes >= self.config.batch_bytes {
                break;
            }
        }
        Ok((events, withheld))
    }

    fn batch(&mut self, events: Vec<Event>, withheld: Vec<Withheld>, mark: Option<Mark>) -> Batch {
        self.reported = Instant::now();
        Batch { events, withheld, position: self.position.clone(), mark }
    }

    /// Leaves the window: all of it is read.
    fn close_window(&mut self) {
        self.open = None;
        let last = Window { took: self.asked.elapsed(), events: self.events, before: self.before };
        self.rested = Instant::now() + linger(last, self.config.batch_events, self.config.linger);
        if let Some(hi) = self.position.hi.take() {
            self.position.lo = hi;
        }
        self.position.last = 0;
    }
}

#[async_trait]
impl Reader for PostgresReader {
    async fn next(&mut self) -> Result<Option<Batch>, Error> {
        loop {
            let fresh = self.open.is_none() && self.position.hi.is_none();
            if self.open.is_none() && !self.open_window().await? {
                return Ok(None);
            }
            let from = self.position.clone();
            let (events, withheld) = self.gather().await?;
            if !events.is_empty() || !withheld.is_empty() {
                self.wake.found();
                // Where commits are rare, the next one may as well ring: the batch need not wait for an answer. And the
                // session answers in order: while rows of the window wait to be taken, it would answer nothing else.
                if self.before > 0 && self.open.is_none() {
                    self.wake.busy(&self.session).await?;
                }
                let mark = match &mut self.ledger {
                    Some(ledger) => Some(ledger.mark(&from, &self.position).await?),
                    None => None,
                };
                return Ok(Some(self.batch(events, withheld, mark)));
            }
            // A window without events for this subscription. Recording each of them would keep an idle database busy
            // with nothing but records of it being idle. The rest of a window that had events may be empty too: then
            // the next window may not be.
            if fresh {
                return Ok((self.reported.elapsed() >= IDLE_POSITION).then(|| self.batch(events, withheld, None)));
            }
        }
    }

    async fn wait(&mut self) -> Result<(), Error> {
        self.wake.wait(&self.session, self.config.poll_interval).await
    }
}
