//! What is wrong on purpose, so that the harness shows that it notices; and an index without the guard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sync_core::Error;
use sync_core::port::{History, Outcome, Position, Sink, Stored, Write};

/// The one thing that is broken in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// The index takes whatever comes.
    Guard,
    /// Offsets are committed when messages are given out.
    EarlyCommits,
    /// The cursor lets anyone advance.
    Fencing,
    /// The position is the highest id that was read.
    IdCursor,
    /// The bus acknowledges what it has not stored.
    EarlyAcknowledgements,
    /// The bus stores what is behind a batch that failed.
    Gaps,
    /// The bus begins anew after a failure before it told anybody of it.
    Forgetful,
    /// The position is stored beside the transaction, after it.
    LooseMark,
    /// What a transaction that was taken back had stored stays to be seen.
    VisibleAborts,
    /// Whoever begins shuts nobody out.
    NobodyShutOut,
    /// The newest position that is read is the one before it.
    StaleMark,
    /// The position that follows in the database is moved by anyone, whatever the term.
    Mirror,
}

/// A subscription's position as an id: everything up to it counts as done.
#[derive(Debug, Default)]
pub struct IdCursor {
    recorded: i64,
    /// The highest id up to a position.
    read: Vec<(Position, i64)>,
}

impl IdCursor {
    pub fn recorded(&self) -> i64 {
        self.recorded
    }

    pub fn read(&mut self, position: &Position, highest: i64) {
        self.read.push((position.clone(), highest));
    }

    pub fn record(&mut self, position: &Position) {
        let read = self.read.iter().filter(|(read, _)| read == position);
        self.recorded = read.map(|(_, highest)| *highest).fold(self.recorded, i64::max);
    }
}

/// An index that holds what it was given last.
#[derive(Clone, Debug, Default)]
pub struct UnguardedSink(Arc<Mutex<HashMap<String, Stored>>>);

#[async_trait]
impl Sink for UnguardedSink {
    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let mut stored = self.0.lock().unwrap();
        for Write { key, version, document } in writes.iter().cloned() {
            match document {
                Some(document) => stored.insert(key, Stored { version, document }),
                None => stored.remove(&key),
            };
        }
        Ok(writes.iter().map(|_| Outcome::Applied).collect())
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        let stored = self.0.lock().unwrap();
        Ok(keys.iter().map(|key| stored.get(key).cloned()).collect())
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        Ok(None)
    }

    async fn record(&self, _: &History) -> Result<(), Error> {
        Ok(())
    }

    async fn count(&self) -> Result<u64, Error> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}
