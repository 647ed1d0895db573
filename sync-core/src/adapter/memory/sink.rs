//! An index in memory, with the guard of the real one: deleted keys keep their version for as long as it lives.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::de::IgnoredAny;

use crate::error::{Error, ErrorKind};
use crate::port::{History, Outcome, Sink, Stored, Write};
use crate::version::Version;

/// The longest key, in bytes; what Elasticsearch takes as a document's id.
const MAX_KEY_BYTES: usize = 512;

/// What is known of one key. Without a document it is a tombstone.
#[derive(Debug)]
pub(super) struct State {
    version: Version,
    document: Option<String>,
}

impl State {
    /// The version of its document, if it has one.
    pub(super) fn held(&self) -> Option<Version> {
        self.document.as_ref().map(|_| self.version)
    }
}

/// An index in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    states: Arc<Mutex<HashMap<String, State>>>,
    history: Arc<Mutex<Option<History>>>,
    /// How often all listings were forgotten.
    pub(super) listings: Arc<AtomicU64>,
}

impl MemorySink {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes away all that is known of a key, as the loss of a node's memory of deletes does.
    pub fn forget(&self, key: &str) {
        self.states().remove(key);
    }

    /// Lets no listing go on that has begun, as a restart of an index does.
    pub fn forget_listings(&self) {
        self.listings.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        // No write leaves the map half-changed, so what a panicking holder left is whole.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let mut seen = HashSet::with_capacity(writes.len());
        if let Some(twice) = writes.iter().find(|write| !seen.insert(write.key.as_str())) {
            return Err(Error::new(ErrorKind::Internal, format!("key {:?} is twice in one call", twice.key)));
        }
        let mut states = self.states();
        Ok(writes.iter().map(|write| apply_one(&mut states, write)).collect())
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        let states = self.states();
        let stored = |key: &String| {
            let State { version, document } = states.get(key)?;
            Some(Stored { version: *version, document: document.clone()? })
        };
        Ok(keys.iter().map(stored).collect())
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        Ok(self.history.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = Some(history.clone());
        Ok(())
    }

    async fn count(&self) -> Result<u64, Error> {
        let documents = self.states().values().filter(|state| state.document.is_some()).count();
        Ok(u64::try_from(documents).unwrap_or(u64::MAX))
    }
}

fn apply_one(states: &mut HashMap<String, State>, write: &Write) -> Outcome {
    if let Err(error) = acceptable(write) {
        return Outcome::Failed(error);
    }
    let state = State { version: write.version, document: write.document.clone() };
    let existed = match states.entry(write.key.clone()) {
        Entry::Occupied(held) if held.get().version >= write.version => return Outcome::Stale,
        Entry::Occupied(mut held) => held.insert(state).document.is_some(),
        Entry::Vacant(free) => {
            free.insert(state);
            false
        }
    };
    // The delete of a document that is not there is stale, though its version counts from now on.
    if existed || write.document.is_some() { Outcome::Applied } else { Outcome::Stale }
}

fn acceptable(write: &Write) -> Result<(), Error> {
    let length = write.key.len();
    if length == 0 || length > MAX_KEY_BYTES {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {length}"),
        ));
    }
    let Some(document) = &write.document else { return Ok(()) };
    if let Err(error) = serde_json::from_str::<HashMap<String, IgnoredAny>>(document) {
        let action = format!("the document of key {:?} is not a JSON object", write.key);
        return Err(Error::new(ErrorKind::Refused, action).with_source(error));
    }
    Ok(())
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;
    use crate::port::Inventory;
    use crate::testkit::conformance;

    fn make() -> impl AsyncFn(&str) -> Arc<MemorySink> {
        let indexes: Mutex<HashMap<String, MemorySink>> = Mutex::default();
        async move |name| {
            Arc::new(indexes.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone())
        }
    }

    #[tokio::test]
    async fn the_memory_sink_keeps_every_promise_of_a_sink() {
        let make = make();
        conformance::sink(async |name: &str| make(name).await as Arc<dyn Sink>).await;
    }

    #[tokio::test]
    async fn the_memory_sink_keeps_every_promise_of_an_inventory() {
        let make = make();
        conformance::inventory(async |name: &str| make(name).await as Arc<dyn Inventory>).await;
    }
}
