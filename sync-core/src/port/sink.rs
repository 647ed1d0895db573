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
    /// The document's id: any text of 1 to 512 bytes. One of another length may come, and is `Refused`.
    pub key: String,
    /// Which state this is.
    pub version: Version,
    /// Text of one JSON object; `None` deletes. A projection gives it on one line, but any white space JSON allows is fine:
    /// where a protocol goes line by line, the adapter makes one line of it.
    pub document: Option<String>,
}

/// What became of one write. Whoever writes handles all of them, so there will be no other.
#[derive(Debug)]
pub enum Outcome {
    /// The index holds this state, and did not before.
    Applied,
    /// The index holds this state already, or a newer one; or this deletes a key that had no document, and its version counts
    /// from now on. A success.
    Stale,
    /// The index did not take it; the error says why, and its remedy what to do: `Refused` when it never will as it is,
    /// `Unexplained` when nobody knows, another kind when it is not this write's fault.
    Failed(Error),
}

/// A document as the index holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// JSON text as it was written, number by number and digit by digit; only white space that means nothing may differ.
    pub document: String,
}

/// Writes documents under the version guard.
///
/// All of it is called by several at once, in several processes. What only asks may be repeated, and dropped half-way nothing
/// happened.
#[async_trait]
pub trait Sink: Debug + Send + Sync + 'static {
    /// Makes sure the index exists, creating it from the configured mapping; documents that are there stay. May be repeated,
    /// also by several processes at once. Dropped half-way, or after an error, it may exist; the next call does what is left.
    ///
    /// # Errors
    /// `Configuration` when it cannot be as configured; `Denied`, `Unavailable`.
    async fn prepare(&self) -> Result<(), Error>;

    /// Applies each write if its version is newer than what the index holds of that key, a deleted key's version
    /// included. One outcome for each write, in their order; one failing write does not touch the others. A key that has not 1
    /// to 512 bytes and a document that is no JSON object are `Refused`. Keys must be distinct. What was applied is stored for
    /// good when this returns. May be repeated. Dropped half-way, or after an error, any of it may have been applied.
    ///
    /// Calls with the same keys come at the same time: batches overlap, and retries, repairs and other processes write beside.
    /// So comparing a key's version and writing the key are one step, in which nobody else writes it.
    ///
    /// The version of a delete is remembered, also of a key that had no document, so that a late write of an older state
    /// brings nothing back. Rows are written up to about five minutes after they were read: it is remembered for longer than
    /// that and a call together, for an hour, say.
    ///
    /// There may be no writes. At most there are as many as `batch_messages` of the indexer's configuration says, of a repair
    /// `page_keys`, and they are of about `batch_bytes` in all, or one that is larger. What is `TooLarge` comes again in
    /// halves.
    ///
    /// # Errors
    /// Of the request as a whole: `Unavailable`, `Denied`, `TooLarge` (send less), `Configuration`; `Blocked`, also where it is
    /// seen that another index [has taken the place](Self::moved_at) of this one; `Internal` when a key is there twice: nothing
    /// was applied.
    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error>;

    /// What the index holds of these keys now, one for each and in their order; sees every applied write. There may be none,
    /// and one may be there twice. Of a key no document can have, it is `None`.
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

    /// When another index was last seen to have taken the place of the one that was written to, on tokio's clock; `None` for
    /// never. That one has other memories of deletes: what was read before must not be written to it.
    fn moved_at(&self) -> Option<Instant> {
        None
    }

    /// Whether there are documents in it that something else wrote, under versions that mean nothing here. Asked where no
    /// history is recorded, which is before the first document; an index of our own that was made again at work may have some
    /// already.
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
