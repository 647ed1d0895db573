//! Transactions on a bus in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::bus::MemoryBus;
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{Mark, Publisher, Transactions, Transactor};

/// Publishes to a [`MemoryBus`] in transactions. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryTransactor {
    bus: MemoryBus,
    names: Arc<Mutex<BTreeMap<String, Name>>>,
    /// The largest message it takes, in bytes.
    largest: usize,
}

/// What Kafka's topics take unless they are told otherwise, about.
const LARGEST: usize = 1 << 20;

/// What is known under one name.
#[derive(Debug, Default)]
struct Name {
    /// How many have begun.
    begun: u64,
    mark: Option<Mark>,
}

impl MemoryTransactor {
    /// Transactions on this bus.
    #[must_use]
    pub fn new(bus: MemoryBus) -> Self {
        Self { bus, names: Arc::default(), largest: LARGEST }
    }

    /// The same, taking no message whose key and value are larger than so many bytes together: a mebibyte otherwise.
    #[must_use]
    pub fn with_largest(self, bytes: usize) -> Self {
        Self { largest: bytes, ..self }
    }

    fn refusal(&self, message: &Outgoing) -> Option<Error> {
        let size = message.key.len() + message.value.as_ref().map_or(0, String::len);
        let too_large = || Error::new(ErrorKind::Refused, format!("{size} bytes, more than {}", self.largest));
        (size > self.largest).then(too_large)
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transactor for MemoryTransactor {
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error> {
        let mut names = self.names();
        let known = names.entry(name.to_owned()).or_default();
        known.begun += 1;
        Ok(Box::new(MemoryTransactions { transactor: self.clone(), name: name.to_owned(), begun: known.begun }))
    }
}

#[derive(Debug)]
struct MemoryTransactions {
    transactor: MemoryTransactor,
    name: String,
    begun: u64,
}

#[async_trait]
impl Transactions for MemoryTransactions {
    async fn mark(&mut self) -> Result<Option<Mark>, Error> {
        Ok(self.transactor.names().get(&self.name).and_then(|known| known.mark.clone()))
    }

    async fn refusals(&mut self, messages: &[Outgoing]) -> Result<Vec<(usize, Error)>, Error> {
        let refusal = |(place, message)| Some((place, self.transactor.refusal(message)?));
        Ok(messages.iter().enumerate().filter_map(refusal).collect())
    }

    async fn publish(&mut self, messages: Vec<Outgoing>, mark: &Mark) -> Result<(), Error> {
        if let Some(error) = messages.iter().find_map(|message| self.transactor.refusal(message)) {
            return Err(error);
        }
        // Somewhere to be dropped half-way, with nothing stored; long enough for more to be read meanwhile.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        match self.transactor.names().get_mut(&self.name) {
            Some(known) if known.begun == self.begun => known.mark = Some(mark.clone()),
            Some(_) | None => {
                return Err(Error::new(ErrorKind::Fenced, "another publisher has begun under this name"));
            }
        }
        // The bus in memory takes all of it without waiting, so nothing comes between the two.
        self.transactor.bus.publish(messages).await?.await
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;
    use crate::testkit::conformance::transactions::{Harness, transactions};

    #[tokio::test]
    async fn the_memory_transactor_keeps_every_promise_of_a_transactor() {
        transactions(async || {
            let bus = MemoryBus::new(3);
            Harness {
                topic: "topic".to_owned(),
                subscriber: Arc::new(bus.subscriber("group", "topic")),
                transactor: Arc::new(MemoryTransactor::new(bus)),
            }
        })
        .await;
    }
}
