//! The outbox as a source whose windows are entered into `outbox.windows`, so that Kafka can keep the position.

use std::fmt;

use async_trait::async_trait;
use tokio_postgres::Statement;

use super::cursor::PostgresCursor;
use super::reader::PostgresReader;
use super::{PostgresSource, SourceConfig, Taken};
use crate::adapter::postgres::connect::Session;
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{Claim, History, LedgerSource, Mark, Position, Resumed, Unresumed};

/// Enters windows, each once, and names places in them.
pub(super) struct Ledger {
    /// Of its own: the reader's is busy with the window, and the cursor's commits need not survive a crash.
    session: Session,
    enter: Statement,
    subscription: String,
    term: i64,
    history: History,
    entered: Option<Entered>,
}

/// A window in the ledger.
struct Entered {
    hi: String,
    number: i64,
    token: String,
}

impl Ledger {
    /// The mark of having read from `before` to `after`, both in one window.
    pub(super) async fn mark(&mut self, before: &Position, after: &Position) -> Result<Mark, Error> {
        let hi = before.hi.clone().unwrap_or_default();
        let entered = match self.entered.take().filter(|entered| entered.hi == hi) {
            Some(entered) => entered,
            None => self.enter(&before.lo, hi).await?,
        };
        let Entered { number, token, .. } = self.entered.insert(entered);
        let last = after.hi.as_ref().map(|_| after.last);
        let History { epoch, token: history } = self.history.clone();
        Ok(Mark { window: *number, token: token.clone(), last, term: self.term, epoch, history })
    }

    async fn enter(&self, lo: &str, hi: String) -> Result<Entered, Error> {
        let row = self
            .session
            .client
            .query_one(&self.enter, &[&self.subscription, &self.term, &lo, &hi])
            .await
            .map_err(|error| from_postgres("entering a window into the ledger", error))?;
        let (number, token): (Option<i64>, Option<String>) = (row.get(0), row.get(1));
        let (Some(number), Some(token)) = (number, token) else { return Err(fenced(&self.subscription, self.term)) };
        Ok(Entered { hi, number, token })
    }
}

fn fenced(subscription: &str, term: i64) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("another relay took over subscription {subscription:?} (term {term} is over)"),
    )
}

#[async_trait]
impl LedgerSource for PostgresSource {
    async fn claim(&self) -> Result<Claim, Error> {
        let (taken, history, reading, recording) = self.connect(true).await?;
        let identity = recording
            .client
            .query_one(IDENTITY, &[])
            .await
            .map_err(|error| from_postgres("reading the outbox's history", error))?;
        let identity: String = identity.get(0);
        let ledger = self.database.session().await?;
        let cursor = PostgresCursor::new(recording, &self.config, taken.term).await?;
        let unresumed = PostgresUnresumed { config: self.config.clone(), reading, ledger, taken, history };
        Ok(Claim {
            name: format!("{identity}/{}", self.config.subscription),
            cursor: Box::new(cursor),
            unresumed: Box::new(unresumed),
        })
    }
}

/// The same on every server of one history, and on those promoted from it; another for a copy restored from a dump.
const IDENTITY: &str = "
select format('%s-%s-%s', system_identifier, database_oid, events_oid) from outbox.history order by epoch desc limit 1";

struct PostgresUnresumed {
    config: SourceConfig,
    reading: Session,
    ledger: Session,
    taken: Taken,
    history: History,
}

impl fmt::Debug for PostgresUnresumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUnresumed").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Unresumed for PostgresUnresumed {
    async fn resume(self: Box<Self>, mark: Option<Mark>) -> Result<Resumed, Error> {
        let Self { config, reading, ledger: session, taken, history } = *self;
        let term = taken.term;
        if let Some(mark) = &mark {
            mark.admits(term, &history)?;
        }
        let doing = |error| from_postgres("looking a position up in the ledger", error);
        let enter = session
            .client
            .prepare("select n, token::text from outbox.record_window($1, $2, $3, $4)")
            .await
            .map_err(doing)?;
        let mut ledger =
            Ledger { session, enter, subscription: config.subscription.clone(), term, history, entered: None };
        let position = ledger.find(mark).await?;
        let epoch = ledger.history.epoch;
        let reader = PostgresReader::new(reading, &config, taken.bell, position.clone(), Some(ledger)).await?;
        Ok(Resumed { reader: Box::new(reader), position, epoch })
    }
}

impl Ledger {
    /// The position a mark means.
    async fn find(&mut self, mark: Option<Mark>) -> Result<Position, Error> {
        let doing = |error| from_postgres("looking a position up in the ledger", error);
        let (window, token) = (mark.as_ref().map(|mark| mark.window), mark.as_ref().map(|mark| mark.token.as_str()));
        let last = mark.as_ref().and_then(|mark| mark.last);
        let (epoch, history) = (mark.as_ref().map(|mark| mark.epoch), mark.as_ref().map(|mark| mark.history.as_str()));
        let row = self
            .session
            .client
            .query_one(RESUME, &[&self.subscription, &self.term, &window, &token, &last, &epoch, &history])
            .await
            .map_err(doing)?;
        let verdict: String = row.get(0);
        if verdict == "fenced" {
            return Err(fenced(&self.subscription, self.term));
        }
        let position = Position { lo: row.get(1), hi: row.get(2), last: row.get(3) };
        let is_ours: bool = row.get(4);
        if let (false, Some(mark)) = (is_ours, &mark) {
            // What is published is the same in both copies of the database, up to this mark at least.
            self.begin_epoch(mark).await?;
        }
        let subscription = &self.subscription;
        match (verdict.as_str(), mark) {
            ("began", _) => tracing::info!(subscription, "its position is Kafka's from now on, from this database's"),
            ("missing", _) => tracing::warn!(
                subscription,
                "Kafka has lost its position: what was published after the position in this database comes again"
            ),
            ("known", Some(Mark { window: number, token, .. })) => {
                self.entered = position.hi.clone().map(|hi| Entered { hi, number, token });
            }
            ("lost", Some(mark)) if is_ours => self.begin_epoch(&mark).await?,
            ("lost", Some(_)) => {}
            (other, _) => {
                let what = format!("outbox.resume answered {other:?}, which this program does not know");
                return Err(Error::new(ErrorKind::Configuration, what));
            }
        }
        Ok(position)
    }

    /// The mark was given by a history this database does not have: versions may be handed out again.
    async fn begin_epoch(&mut self, mark: &Mark) -> Result<(), Error> {
        let least = mark.epoch.saturating_add(1);
        let doing = |error| from_postgres("beginning a new epoch", error);
        self.session.client.query_one("select outbox.raise_epoch($1)", &[&least]).await.map_err(doing)?;
        let row = self.session.client.query_one(NEWEST, &[]).await.map_err(doing)?;
        self.history = History { epoch: row.get(0), token: row.get(1) };
        tracing::error!(
            subscription = self.subscription,
            window = mark.window,
            epoch = self.history.epoch,
            "Kafka holds a position this database never gave: commits were lost, in a promotion or a restore. What was \
             published after the position in this database comes again, in a new epoch"
        );
        Ok(())
    }
}

/// And whether this database has had the history in which the mark was published; marks of old do not say which.
const RESUME: &str = "
select verdict, lo, hi, last,
       coalesce($7::text, '') = '' or exists (select from outbox.history h where h.epoch = $6 and h.token::text = $7)
  from outbox.resume($1, $2, $3, $4, $5)";

/// Asked for in a statement of its own: the one that begins a history does not see it.
const NEWEST: &str = "select epoch, token::text from outbox.history order by epoch desc limit 1";
