//! The outbox of a database in memory, as a source.

mod ledger;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use self::ledger::Ledger;
use super::database::{MemoryDatabase, Subscription};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::port::{Batch, Cursor, Feed, Position, Reader, Source, SourceLag};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the outbox of a [`MemoryDatabase`] for one subscription.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemorySource {
    /// The database.
    pub database: MemoryDatabase,
    /// The subscription's name; `search` unless said.
    pub subscription: String,
    /// By whom the lease is held: different for each of several sources; `this process` unless said.
    pub holder: String,
    /// How long the lease lasts without a renewal; 10 seconds unless said.
    pub lease: Duration,
    /// Events in one batch, at most; 1,000 unless said.
    pub batch_events: usize,
}

setters! {
    MemorySource {
        subscription: into String,
        holder: into String,
        lease: Duration,
        batch_events: usize,
    }
}

fn snapshot(text: &str) -> usize {
    text.parse().unwrap_or_default()
}

/// The events of a window, in order of id.
fn window(commits: &[Vec<Event>], lo: &str, hi: usize, last: i64) -> Vec<Event> {
    let commits = commits.get(snapshot(lo)..hi).unwrap_or_default();
    let mut events: Vec<_> = commits.iter().flatten().filter(|event| event.id > last).cloned().collect();
    events.sort_by_key(|event| event.id);
    events
}

impl MemorySource {
    /// Of this database, for the subscription `search`. The lease is taken for 10 seconds in the name of `this process`: give each of
    /// several sources another [`holder`](Self::holder).
    #[must_use]
    pub fn new(database: MemoryDatabase) -> Self {
        Self {
            database,
            subscription: "search".to_owned(),
            holder: "this process".to_owned(),
            lease: Duration::from_secs(10),
            batch_events: 1_000,
        }
    }

    /// Takes the lease; says its term and the position.
    fn take(&self, keeps_ledger: bool) -> Result<(i64, Position), Error> {
        let mut state = self.database.lock();
        let start = Position { lo: "0".to_owned(), hi: None, last: 0 };
        let subscription = state.subscriptions.entry(self.subscription.clone()).or_insert(Subscription {
            position: start,
            holder: None,
            term: 0,
            ledger_from: None,
        });
        let now = Instant::now();
        if subscription.holder.as_ref().is_some_and(|(holder, until)| *holder != self.holder && *until > now) {
            return Err(Error::new(ErrorKind::Fenced, "another relay holds the lease"));
        }
        subscription.holder = Some((self.holder.clone(), now + self.lease));
        subscription.term += 1;
        if !keeps_ledger {
            subscription.ledger_from = None;
        }
        Ok((subscription.term, subscription.position.clone()))
    }

    fn reader(&self, position: Position, ledger: Option<Ledger>) -> Box<dyn Reader> {
        Box::new(MemoryReader { source: self.clone(), position, waiting: Vec::new(), ledger })
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn open(&self) -> Result<Feed, Error> {
        let (term, position) = self.take(false)?;
        let cursor = MemoryCursor { source: self.clone(), term };
        let epoch = self.database.lock().history().epoch;
        Ok(Feed { reader: self.reader(position, None), cursor: Box::new(cursor), epoch })
    }

    async fn lag(&self) -> Result<SourceLag, Error> {
        let state = self.database.lock();
        let Some(Subscription { position, .. }) = state.subscriptions.get(&self.subscription) else {
            return Err(Error::new(ErrorKind::Configuration, "there is no such subscription yet"));
        };
        let inside = position.hi.as_deref().map_or_else(|| snapshot(&position.lo), snapshot);
        let rest = state.commits.get(inside..).unwrap_or_default().iter().map(Vec::len).sum::<usize>();
        let events = window(&state.commits, &position.lo, inside, position.last).len() + rest;
        Ok(SourceLag { events: events as u64, age: Duration::ZERO })
    }

    async fn maintain(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryReader {
    source: MemorySource,
    position: Position,
    /// The rest of the window, the next event last.
    waiting: Vec<Event>,
    ledger: Option<Ledger>,
}

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.waiting.is_empty() {
            let state = self.source.database.lock();
            let hi = self.position.hi.as_deref().map_or(state.commits.len(), snapshot);
            self.waiting = window(&state.commits, &self.position.lo, hi, self.position.last);
            self.waiting.reverse();
            self.position.hi = Some(hi.to_string());
        }
        let before = self.position.clone();
        let mut events = Vec::new();
        while events.len() < self.source.batch_events
            && let Some(event) = self.waiting.pop()
        {
            self.position.last = event.id;
            events.push(event);
        }
        if self.waiting.is_empty()
            && let Some(hi) = self.position.hi.take()
        {
            self.position = Position { lo: hi, hi: None, last: 0 };
        }
        if events.is_empty() {
            return Ok(None);
        }
        let mark = match &mut self.ledger {
            Some(ledger) => Some(ledger.mark(&self.source, &before, &self.position)?),
            None => None,
        };
        Ok(Some(Batch { events, withheld: Vec::new(), position: self.position.clone(), mark }))
    }

    async fn wait(&mut self) -> Result<(), Error> {
        if timeout(POLL_INTERVAL, self.source.database.committed.notified()).await.is_err() {
            tracing::trace!("nothing rang; looking all the same");
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryCursor {
    source: MemorySource,
    term: i64,
}

impl MemoryCursor {
    fn fenced(&self, change: impl FnOnce(&mut Subscription)) -> Result<(), Error> {
        let mut state = self.source.database.lock();
        match state.subscriptions.get_mut(&self.source.subscription) {
            Some(subscription) if subscription.term == self.term => {
                change(subscription);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Fenced, "another relay took over")),
        }
    }
}

#[async_trait]
impl Cursor for MemoryCursor {
    async fn advance(&self, position: &Position) -> Result<(), Error> {
        // Somewhere to be dropped half-way, with nothing recorded.
        tokio::task::yield_now().await;
        self.fenced(|subscription| subscription.position = position.clone())
    }

    async fn renew(&self) -> Result<(), Error> {
        let until = Instant::now() + self.source.lease;
        self.fenced(|subscription| subscription.holder = Some((self.source.holder.clone(), until)))
    }

    async fn release(&self) -> Result<(), Error> {
        self.fenced(|subscription| subscription.holder = None)
    }

    fn lease(&self) -> Duration {
        self.source.lease
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;
    use crate::adapter::memory::MemoryTransaction;
    use crate::event::Action;
    use crate::port::{LedgerSource, Versions};
    use crate::testkit::conformance::{self, Outbox, Rows, Transaction};

    #[async_trait]
    impl Outbox for MemoryDatabase {
        fn source(&self, holder: &str, lease: Duration, batch_events: usize) -> Box<dyn Source> {
            let (subscription, holder) = ("search".to_owned(), holder.to_owned());
            Box::new(MemorySource { database: self.clone(), subscription, holder, lease, batch_events })
        }

        fn ledger_source(&self, holder: &str, lease: Duration, batch_events: usize) -> Box<dyn LedgerSource> {
            let (subscription, holder) = ("search".to_owned(), holder.to_owned());
            Box::new(MemorySource { database: self.clone(), subscription, holder, lease, batch_events })
        }

        async fn begin(&self) -> Box<dyn Transaction> {
            Box::new(MemoryDatabase::begin(self, "jobs"))
        }
    }

    #[async_trait]
    impl Transaction for MemoryTransaction {
        async fn emit(&mut self, key: &str, action: Action) {
            match action {
                Action::Index => self.put(key, "{}"),
                Action::Delete => self.delete(key),
            }
        }

        async fn commit(self: Box<Self>) {
            MemoryTransaction::commit(*self);
        }

        async fn rollback(self: Box<Self>) {
            MemoryTransaction::rollback(*self);
        }
    }

    #[async_trait]
    impl Rows for MemoryDatabase {
        fn projection(&self) -> &dyn Versions {
            self
        }

        async fn put(&self, key: &str, title: &str) {
            let mut transaction = MemoryDatabase::begin(self, "jobs");
            transaction.put(key, &serde_json::json!({ "title": title }).to_string());
            transaction.commit();
        }

        async fn delete(&self, key: &str) {
            let mut transaction = MemoryDatabase::begin(self, "jobs");
            transaction.delete(key);
            transaction.commit();
        }

        async fn hold(&self, key: &str) {
            MemoryDatabase::hold(self, key);
        }

        async fn release(&self) {
            MemoryDatabase::release(self);
        }

        async fn promote(&self) {
            self.begin_history();
        }
    }

    #[tokio::test]
    async fn the_memory_source_keeps_the_promises_of_a_source() {
        conformance::source(async || Box::new(MemoryDatabase::default()) as Box<dyn Outbox>).await;
    }

    #[tokio::test]
    async fn the_memory_source_keeps_the_promises_of_a_source_with_a_ledger() {
        conformance::ledger_source(async || Box::new(MemoryDatabase::default()) as Box<dyn Outbox>).await;
    }

    #[tokio::test]
    async fn the_memory_projection_keeps_the_promises_of_a_projection() {
        conformance::projection(async || Box::new(MemoryDatabase::default()) as Box<dyn Rows>).await;
    }

    #[tokio::test]
    async fn versions_in_memory_keep_the_promises_of_versions() {
        conformance::versions(async || Box::new(MemoryDatabase::default()) as Box<dyn Rows>).await;
    }
}
