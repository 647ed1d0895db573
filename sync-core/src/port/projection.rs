//! The current documents of keys, as the database holds them now.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Error;
use crate::port::history::History;
use crate::version::Version;

/// The state of one key at the moment it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The key.
    pub key: String,
    /// Which state this is; read in the same snapshot as the document. It grows with each change of the key, deletes included,
    /// in the order of the commits; its epoch is that of the history that was agreed upon. Of a key without a row: the version
    /// its delete has, with a local version of zero where nobody ever wrote an event for it.
    pub version: Version,
    /// JSON text of the document, on one line; `None` when the key is not to be in the index.
    pub document: Option<String>,
}

/// Reads documents from the database.
///
/// All of it is called by several at once. What only reads may be repeated, and dropped half-way nothing happened.
#[async_trait]
pub trait Projection: Debug + Send + Sync + 'static {
    /// Settles which history the rows are of, told what the index has recorded of it: the database's own; where
    /// another copy of the database gave the recorded one the same number, a new one begins with a later number. From
    /// then on rows of any other history are refused; before the first time, none are. May be repeated, also by several at
    /// once; dropped half-way, or after `Unavailable`, a history may have begun, and the same begins no other.
    ///
    /// # Errors
    /// `History` when the index has recorded a later number than the database ever had, or the database was restored
    /// from a dump: a person decides. `Unavailable`, `Denied`, `Configuration`.
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error>;

    /// The current state of each of these keys, one for each and in their order, all of one snapshot. What was
    /// committed before the call is seen. There may be no keys, one may be there twice, and they may be any text: a message has
    /// said them.
    ///
    /// # Errors
    /// `Contract` when there are two rows for one key, a row without a version, or a key the database cannot have: the same is
    /// asked in halves then, until the key at fault is alone. `Configuration` when the projection itself fails; `Fenced` when
    /// another history has begun since it was agreed upon; `Unavailable`, `Denied`.
    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error>;

    /// Up to `limit` keys that have a document, in the projection's own order of keys, those after `after`. Fewer than
    /// `limit` means these are the last. Each page is of one snapshot: what has a document from the first page to the last
    /// comes once, as it is when it is read.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error>;

    /// The same keys without their documents, and beside them any that have none.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error>;

    /// About how many keys there are. Costs little, and may be wrong by far.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn estimate(&self) -> Result<u64, Error>;

    /// How many keys have a document. Reads them all.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn count(&self) -> Result<u64, Error>;

    /// Notes at the source that these keys' documents are in the index, and says of which it did not, because somebody
    /// holds their rows: it never waits for a row. Keys without a row are passed over; there may be none. A note is no change:
    /// it raises no version and causes no event. A projection that keeps no such note does nothing. May be repeated. Dropped
    /// half-way, or after an error, any of them may be noted.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error>;
}
