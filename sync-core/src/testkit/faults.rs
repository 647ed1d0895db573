//! Scripted faults around any port, above all "it was done, but the answer was lost".

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{
    Acknowledgement, Changed, Current, DeadLetter, DeadLetters, History, Inventoried, Inventory, InventoryCursor,
    KeptLetter, KeyState, LetterCount, LetterSelection, Mark, Outcome, Projection, Publisher, Sink, Stored,
    Transactions, Transactor, Versions, Write,
};
use crate::version::Version;

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the call goes through.
    Pass,
    /// The call is refused with this kind; nothing was done.
    Refuse(ErrorKind),
    /// Of a sink: each write of the call fails with this kind, the call itself does not.
    Fail(ErrorKind),
    /// The call is carried out, and the caller gets `Unavailable`.
    LoseAnswer,
    /// The call waits until it is let go, then goes through.
    Hold(Hold),
}

/// A call that is held up: the test waits until it is reached, and lets it go.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    reached: Semaphore,
    released: Semaphore,
}

impl Default for Hold {
    fn default() -> Self {
        Self(Arc::new(Gate { reached: Semaphore::new(0), released: Semaphore::new(0) }))
    }
}

impl Hold {
    /// Returns once the call is there.
    pub async fn reached(&self) {
        // The semaphores are never closed, so waiting on them has no way to fail.
        drop(self.0.reached.acquire().await);
    }

    /// Lets the call go on.
    pub fn release(&self) {
        self.0.released.add_permits(1);
    }

    /// What is held up: says that it is there, and waits until it is let go.
    pub async fn wait(&self) {
        self.0.reached.add_permits(1);
        drop(self.0.released.acquire().await);
    }
}

/// A list of faults, one for each call; when it is used up, calls go through. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Mutex<VecDeque<Fault>>>);

impl Script {
    /// Adds to the end.
    pub fn then(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// Whether every fault has happened.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn next(&self) -> Fault {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Fault::Pass)
    }

    /// What the call before it says: go on, and whether the answer is lost.
    async fn before(&self) -> Result<bool, Error> {
        self.met(self.next()).await
    }

    async fn met(&self, fault: Fault) -> Result<bool, Error> {
        match fault {
            Fault::Pass => Ok(false),
            Fault::LoseAnswer => Ok(true),
            Fault::Refuse(kind) | Fault::Fail(kind) => Err(refused(kind)),
            Fault::Hold(hold) => {
                hold.wait().await;
                Ok(false)
            }
        }
    }
}

fn refused(kind: ErrorKind) -> Error {
    Error::new(kind, "refused by the test's script")
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the answer was lost by the test's script")
}

/// A port with a script of faults: its writing calls follow the script.
#[derive(Clone, Debug)]
pub struct Faulty<P> {
    inner: P,
    script: Script,
}

impl<P> Faulty<P> {
    /// Puts `script` around `inner`.
    #[must_use]
    pub fn new(inner: P, script: Script) -> Self {
        Self { inner, script }
    }
}

#[async_trait]
impl<P: Publisher> Publisher for Faulty<P> {
    /// The fault hits the acknowledgement; `Refuse` hits the call.
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        match self.script.next() {
            Fault::Pass => self.inner.publish(batch).await,
            Fault::Refuse(kind) | Fault::Fail(kind) => Err(refused(kind)),
            Fault::LoseAnswer => {
                let stored = self.inner.publish(batch).await?;
                Ok(async move { stored.await.and(Err(lost())) }.boxed())
            }
            Fault::Hold(hold) => {
                let stored = self.inner.publish(batch).await?;
                Ok(async move {
                    hold.wait().await;
                    stored.await
                }
                .boxed())
            }
        }
    }
}

#[async_trait]
impl<P: Transactor> Transactor for Faulty<P> {
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error> {
        let inner = self.inner.begin(name).await?;
        Ok(Box::new(FaultyTransactions { inner, script: self.script.clone() }))
    }
}

#[derive(Debug)]
struct FaultyTransactions {
    inner: Box<dyn Transactions>,
    script: Script,
}

#[async_trait]
impl Transactions for FaultyTransactions {
    async fn mark(&mut self) -> Result<Option<Mark>, Error> {
        self.inner.mark().await
    }

    async fn refusals(&mut self, messages: &[Outgoing]) -> Result<Vec<(usize, Error)>, Error> {
        self.inner.refusals(messages).await
    }

    async fn publish(&mut self, messages: Vec<Outgoing>, mark: &Mark) -> Result<(), Error> {
        let lose = self.script.before().await?;
        self.inner.publish(messages, mark).await?;
        if lose { Err(lost()) } else { Ok(()) }
    }
}

#[async_trait]
impl<P: Sink> Sink for Faulty<P> {
    async fn prepare(&self) -> Result<(), Error> {
        self.inner.prepare().await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let fault = self.script.next();
        if let Fault::Fail(kind) = fault {
            return Ok(writes.iter().map(|_| Outcome::Failed(refused(kind))).collect());
        }
        let lose = self.script.met(fault).await?;
        let outcomes = self.inner.apply(writes).await?;
        if lose { Err(lost()) } else { Ok(outcomes) }
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        self.inner.fetch(keys).await
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        self.inner.history().await
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        self.inner.record(history).await
    }

    async fn is_foreign(&self) -> Result<bool, Error> {
        self.inner.is_foreign().await
    }

    fn moved_at(&self) -> Option<Instant> {
        self.inner.moved_at()
    }

    async fn count(&self) -> Result<u64, Error> {
        self.inner.count().await
    }
}

#[async_trait]
impl<P: Projection> Projection for Faulty<P> {
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error> {
        self.inner.agree(recorded).await
    }

    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error> {
        let lose = self.script.before().await?;
        let current = self.inner.load(keys).await?;
        if lose { Err(lost()) } else { Ok(current) }
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        let lose = self.script.before().await?;
        let current = self.inner.scan(after, limit).await?;
        if lose { Err(lost()) } else { Ok(current) }
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        self.inner.keys(after, limit).await
    }

    async fn estimate(&self) -> Result<u64, Error> {
        self.inner.estimate().await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.inner.count().await
    }

    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        self.inner.mark_synced(keys).await
    }
}

#[async_trait]
impl<P: Versions> Versions for Faulty<P> {
    async fn states(&self, keys: &[String]) -> Result<Vec<KeyState>, Error> {
        let lose = self.script.before().await?;
        let states = self.inner.states(keys).await?;
        if lose { Err(lost()) } else { Ok(states) }
    }

    async fn scan_states(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeyState>, Error> {
        let lose = self.script.before().await?;
        let states = self.inner.scan_states(after, limit).await?;
        if lose { Err(lost()) } else { Ok(states) }
    }

    async fn changed(&self, since: Timestamp, after: Option<&str>, limit: usize) -> Result<Changed, Error> {
        self.inner.changed(since, after, limit).await
    }

    async fn raise(&self, keys: &[String], above: Version) -> Result<(), Error> {
        let lose = self.script.before().await?;
        self.inner.raise(keys, above).await?;
        if lose { Err(lost()) } else { Ok(()) }
    }
}

#[async_trait]
impl<P: Inventory> Inventory for Faulty<P> {
    async fn versions(&self, keys: &[String]) -> Result<Vec<Option<Version>>, Error> {
        self.inner.versions(keys).await
    }

    async fn inventory(&self, from: Option<&InventoryCursor>, limit: usize) -> Result<Inventoried, Error> {
        let lose = self.script.before().await?;
        let part = self.inner.inventory(from, limit).await?;
        if lose { Err(lost()) } else { Ok(part) }
    }
}

#[async_trait]
impl<P: DeadLetters> DeadLetters for Faulty<P> {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let lose = self.script.before().await?;
        self.inner.park(letter).await?;
        if lose { Err(lost()) } else { Ok(()) }
    }

    async fn list(&self, selection: &LetterSelection, after: i64, limit: usize) -> Result<Vec<KeptLetter>, Error> {
        self.inner.list(selection, after, limit).await
    }

    async fn get(&self, id: i64) -> Result<Option<KeptLetter>, Error> {
        self.inner.get(id).await
    }

    async fn count(&self, selection: &LetterSelection) -> Result<LetterCount, Error> {
        self.inner.count(selection).await
    }

    async fn remove(&self, ids: &[i64]) -> Result<u64, Error> {
        self.inner.remove(ids).await
    }
}
