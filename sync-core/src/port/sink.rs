//! The index: takes versioned documents, never an older one over a newer.

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::Error;
use crate::port::history::History;
use crate::version::Version;

/// One key's new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The document's id, 1 to 512 bytes.
    pub key: String,
    /// Which state this is.
    pub version: Version,
    /// JSON text on one line, passed through as it is; `None` deletes.
    pub document: Option<String>,
}

/// What became of one write. Whoever writes handles all of them, so there will be no other.
#[derive(Debug)]
pub enum Outcome {
    /// The index holds this state.
    Applied,
    /// The index holds this state already, or a newer one. A success.
    Stale,
    /// The index did not take it; the error says why, and its remedy what to do.
    Failed(Error),
}

/// A document as the index holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// JSON text.
    pub document: String,
}

/// Writes documents under the version guard.
#[async_trait]
pub trait Sink: Debug + Send + Sync + 'static {
    /// Makes sure the index exists, creating it from the configured mapping. May be repeated, also by several
    /// processes at once.
    ///
    /// # Errors
    /// `Configuration` when it cannot be as configured; `Denied`, `Unavailable`.
    async fn prepare(&self) -> Result<(), Error>;

    /// Applies each write if its version is newer than what the index holds of that key, a deleted key's version
    /// included. One outcome for each write, in their order; one failing write does not touch the others. Keys must
    /// be distinct. May be repeated. Dropped half-way, or after an error, any of it may have been applied.
    ///
    /// # Errors
    /// Of the request as a whole: `Unavailable`, `Blocked`, `Denied`, `TooLarge` (send less), `Configuration`.
    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error>;

    /// What the index holds of these keys now, one for each and in their order; sees every applied write.
    ///
    /// # Errors
    /// `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error>;

    /// The history that was recorded last; `None` when none was. Sees every record before it.
    ///
    /// # Errors
    /// `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn history(&self) -> Result<Option<History>, Error>;

    /// Makes this the history that is recorded, and touches nothing else. Preparing the index again keeps it. May be
    /// repeated; of two that record at once, one stays. Dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn record(&self, history: &History) -> Result<(), Error>;

    /// When another index was last seen to have taken the place of the one that was written to, on tokio's clock; `None` for never.
    /// That one has other memories of deletes: what was read before must not be written to it.
    fn moved_at(&self) -> Option<Instant> {
        None
    }

    /// Whether there are documents in it that something else wrote, under versions that mean nothing here. Asked where no history
    /// is recorded, which is before the first document; an index of our own that was made again at work may have some already.
    ///
    /// # Errors
    /// `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn is_foreign(&self) -> Result<bool, Error> {
        Ok(self.count().await? > 0)
    }

    /// How many documents there are; sees every applied write.
    ///
    /// # Errors
    /// `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn count(&self) -> Result<u64, Error>;
}
