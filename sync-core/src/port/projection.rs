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
    /// Which state this is; read in the same snapshot as the document. Of a key without a row: the version its delete
    /// has.
    pub version: Version,
    /// JSON text of the document, on one line; `None` when the key is not to be in the index.
    pub document: Option<String>,
}

/// Reads documents from the database.
#[async_trait]
pub trait Projection: Debug + Send + Sync + 'static {
    /// Settles which history the rows are of, told what the index has recorded of it: the database's own; where
    /// another copy of the database gave the recorded one the same number, a new one begins with a later number. From
    /// then on rows of any other history are refused. May be repeated, also by several at once; dropped half-way, a
    /// history may have begun.
    ///
    /// # Errors
    /// `History` when the index has recorded a later number than the database ever had, or the database was restored
    /// from a dump: a person decides. `Unavailable`, `Denied`, `Configuration`.
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error>;

    /// The current state of each of these keys, one for each and in their order, all of one snapshot. What was
    /// committed before the call is seen. May be repeated; dropped half-way, nothing happened.
    ///
    /// # Errors
    /// `Contract` when there are two rows for one key, or a row without a version; `Configuration` when the
    /// projection itself fails; `Fenced` when another history has begun since it was agreed upon; `Unavailable`,
    /// `Denied`.
    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error>;

    /// Up to `limit` keys that have a document, in the projection's own order of keys, those after `after`. Fewer than
    /// `limit` means these are the last.
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

    /// How many keys there are. Reads them all.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn count(&self) -> Result<u64, Error>;

    /// Notes at the source that these keys' documents are in the index, and says of which it did not, because somebody
    /// holds their rows: it never waits for a row. A projection that keeps no such note does nothing. May be repeated.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error>;
}
