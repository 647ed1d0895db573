//! A database in memory: rows, and the outbox their transactions write to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::event::{Action, Event};
use crate::port::{Current, History, Position, Projection};
use crate::version::Version;

/// Rows and their outbox. Cheap to clone; all clones are the same database.
#[derive(Debug, Default)]
pub struct MemoryDatabase {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) committed: Arc<Notify>,
    /// The history this clone's reader has agreed to.
    agreed: Mutex<Option<History>>,
}

impl Clone for MemoryDatabase {
    fn clone(&self) -> Self {
        let (state, committed) = (Arc::clone(&self.state), Arc::clone(&self.committed));
        Self { state, committed, agreed: Mutex::default() }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) ids: i64,
    pub(super) rows: BTreeMap<String, String>,
    pub(super) versions: BTreeMap<String, Clock>,
    /// The topic that was written to last.
    pub(super) topic: String,
    synced: BTreeMap<String, u64>,
    held: BTreeSet<String>,
    /// Each committed transaction's events, in the order of the commits. A snapshot is how many there are.
    pub(super) commits: Vec<Vec<Event>>,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    /// The ledger, a window's number being its place.
    pub(super) windows: Vec<Window>,
    /// All it has had, the present one last; none before anybody has asked.
    histories: Vec<History>,
}

/// A key's version, and when it got it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) version: i64,
    pub(super) since: Instant,
    pub(super) at: Timestamp,
}

impl Clock {
    pub(super) fn new(version: i64) -> Self {
        Self { version, since: Instant::now(), at: Timestamp::now() }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) token: String,
    pub(super) lo: String,
    pub(super) hi: String,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) position: Position,
    pub(super) holder: Option<(String, Instant)>,
    pub(super) term: i64,
    /// The first window whose mark counts; none while only this position does.
    pub(super) ledger_from: Option<i64>,
}

impl MemoryDatabase {
    /// Begins a transaction on events of `topic`.
    #[must_use]
    pub fn begin(&self, topic: &str) -> MemoryTransaction {
        MemoryTransaction { database: self.clone(), topic: topic.to_owned(), changes: Vec::new() }
    }

    /// How often a key was marked as synced.
    #[must_use]
    pub fn synced(&self, key: &str) -> u64 {
        self.lock().synced.get(key).copied().unwrap_or_default()
    }

    /// Locks a key's row, as a transaction does that has yet to end.
    pub fn hold(&self, key: &str) {
        self.lock().held.insert(key.to_owned());
    }

    /// Ends every [`hold`](Self::hold).
    pub fn release(&self) {
        self.lock().held.clear();
    }

    /// Moves a subscription that was opened before, whoever holds its lease, as a person does to have events repeated.
    /// A feed that is open goes on from where it was.
    pub fn rewind(&self, subscription: &str, position: &Position) {
        if let Some(subscription) = self.lock().subscriptions.get_mut(subscription) {
            subscription.position = position.clone();
        }
    }

    /// Begins another history, as a promotion does, and says which.
    pub fn begin_history(&self) -> History {
        let mut state = self.lock();
        let epoch = state.history().epoch + 1;
        state.raise(epoch)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes that become visible together, or never.
#[derive(Debug)]
pub struct MemoryTransaction {
    database: MemoryDatabase,
    topic: String,
    changes: Vec<(Event, Option<String>)>,
}

impl MemoryTransaction {
    /// Sets a key's document.
    pub fn put(&mut self, key: &str, document: &str) {
        self.change(key, Action::Index, Some(document.to_owned()));
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: &str) {
        self.change(key, Action::Delete, None);
    }

    /// What was written so far, in order. The versions are drawn at the commit.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.changes.iter().map(|(event, _)| event)
    }

    fn change(&mut self, key: &str, action: Action, document: Option<String>) {
        // The id is drawn now, as a database does; the version, which needs the key's lock, at the commit.
        let mut state = self.database.lock();
        state.ids += 1;
        let event = Event {
            id: state.ids,
            topic: self.topic.clone(),
            key: key.to_owned(),
            version: 0,
            action,
            payload: None,
            headers: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        drop(state);
        self.changes.push((event, document));
    }

    /// Makes the changes visible.
    pub fn commit(self) {
        let mut state = self.database.lock();
        state.topic.clone_from(&self.topic);
        let mut events = Vec::with_capacity(self.changes.len());
        for (mut event, document) in self.changes {
            event.version = state.bump(&event.key);
            match document {
                Some(document) => state.rows.insert(event.key.clone(), document),
                None => state.rows.remove(&event.key),
            };
            events.push(event);
        }
        state.commits.push(events);
        drop(state);
        self.database.committed.notify_one();
    }

    /// Forgets the changes.
    pub fn rollback(self) {}
}

#[async_trait]
impl Projection for MemoryDatabase {
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error> {
        let mut state = self.lock();
        let present = state.history();
        let present = match recorded {
            Some(recorded) if !state.knows(recorded) && recorded.epoch > present.epoch => {
                return Err(Error::new(ErrorKind::History, "the index was written in a later epoch"));
            }
            Some(recorded) if !state.knows(recorded) && recorded.epoch == present.epoch => {
                state.raise(recorded.epoch + 1)
            }
            Some(_) | None => present,
        };
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(present.clone());
        Ok(present)
    }

    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error> {
        let state = self.readable()?;
        keys.iter().map(|key| state.current(key)).collect()
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        let state = self.readable()?;
        let keys = state.rows.keys().filter(|key| after.is_none_or(|after| key.as_str() > after)).take(limit);
        keys.map(|key| state.current(key)).collect()
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        Ok(self.scan(after, limit).await?.into_iter().map(|current| current.key).collect())
    }

    async fn estimate(&self) -> Result<u64, Error> {
        Ok(self.readable()?.rows.len() as u64)
    }

    async fn count(&self) -> Result<u64, Error> {
        Ok(self.readable()?.rows.len() as u64)
    }

    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        let mut state = self.lock();
        let (held, free): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(|key| state.held.contains(key));
        for key in free {
            *state.synced.entry(key).or_default() += 1;
        }
        Ok(held)
    }
}

impl MemoryDatabase {
    /// The rows, in the history that was agreed to.
    pub(super) fn readable(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.lock();
        let present = state.history();
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        if agreed.as_ref().is_some_and(|agreed| *agreed != present) {
            return Err(Error::new(ErrorKind::Fenced, "another history has begun"));
        }
        Ok(state)
    }
}

impl State {
    /// The present history.
    pub(super) fn history(&mut self) -> History {
        match self.histories.last() {
            Some(present) => present.clone(),
            None => self.raise(0),
        }
    }

    /// Begins the history of this number.
    pub(super) fn raise(&mut self, epoch: i32) -> History {
        let history = History { epoch, token: format!("{:032x}", rand::random::<u128>()) };
        self.histories.push(history.clone());
        history
    }

    pub(super) fn knows(&self, history: &History) -> bool {
        self.histories.contains(history)
    }

    /// The next version of a key.
    pub(super) fn bump(&mut self, key: &str) -> i64 {
        let clock = Clock::new(self.versions.get(key).map_or(1, |clock| clock.version + 1));
        self.versions.insert(key.to_owned(), clock);
        clock.version
    }

    pub(super) fn version(&self, key: &str) -> Result<Version, Error> {
        let local = self.versions.get(key).map_or(0, |clock| clock.version);
        Version::new(self.histories.last().map_or(0, |present| present.epoch), local)
    }

    fn current(&self, key: &str) -> Result<Current, Error> {
        Ok(Current { key: key.to_owned(), version: self.version(key)?, document: self.rows.get(key).cloned() })
    }
}
