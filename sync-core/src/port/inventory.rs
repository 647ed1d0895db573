//! What an index holds, without the documents: for comparing it with the database.

use async_trait::async_trait;

use crate::error::Error;
use crate::port::sink::Sink;
use crate::version::Version;

/// Where the scan of an index goes on. Only the index that gave it knows what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryCursor(String);

impl InventoryCursor {
    /// A place, in an adapter's own words.
    #[must_use]
    pub fn new(place: String) -> Self {
        Self(place)
    }

    /// The adapter's own words.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.0
    }
}

/// A part of what an index holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventoried {
    /// Keys with the versions of their documents.
    pub documents: Vec<(String, Version)>,
    /// Where the next part begins; `None` when this was the last.
    pub next: Option<InventoryCursor>,
}

/// A sink whose documents can be listed. All of it only asks: it may be repeated, and dropped half-way nothing happened.
#[async_trait]
pub trait Inventory: Sink {
    /// The versions of these keys' documents now, one for each and in their order; sees every applied write. There may be no
    /// keys. Of one no document can have, it is `None`.
    ///
    /// # Errors
    /// `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn versions(&self, keys: &[String]) -> Result<Vec<Option<Version>>, Error>;

    /// About `limit` documents from `from` on; from the beginning where that is `None`. From part to part each document
    /// that is there from the first one to the last comes once; one that changes meanwhile may come in the state it was
    /// in at the first. Sees every write that was applied before the first part. A part may be asked for again, and may be
    /// empty although another one follows. Several listings go on at the same time.
    ///
    /// # Errors
    /// `Fenced` when the index does not know the cursor any more, after minutes without a question or a restart: only
    /// beginning anew helps. `Unavailable`, `Blocked`, `Denied`, `Configuration`.
    async fn inventory(&self, from: Option<&InventoryCursor>, limit: usize) -> Result<Inventoried, Error>;
}
