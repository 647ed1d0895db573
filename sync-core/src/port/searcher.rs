//! Where documents are found: the index, or the database behind it.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Error;
use crate::query::{Cursor, Query};
use crate::version::Version;

/// A document that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its key.
    pub key: String,
    /// The state it is in.
    pub version: Version,
    /// JSON text.
    pub document: String,
}

/// How many documents fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Documents that fit and were counted.
    pub value: u64,
    /// There are no more. Otherwise counting was ended there.
    pub is_exact: bool,
}

/// A value of a facet, and how many of the documents that fit have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The value.
    pub value: String,
    /// Documents that fit and have it; of more than were counted unless [`Facet::is_exact`].
    pub count: u64,
}

/// The values of one field, the most frequent first, those of one count in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facet {
    /// The field.
    pub field: String,
    /// [`MAX_FACET_VALUES`](crate::query::MAX_FACET_VALUES) at most.
    pub values: Vec<Counted>,
    /// All documents that fit were counted. Otherwise there may be more of each.
    pub is_exact: bool,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// In the order that was asked for.
    pub hits: Vec<Hit>,
    /// How many fit in all.
    pub total: Total,
    /// One for each that was asked for, in that order.
    pub facets: Vec<Facet>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<Cursor>,
}

/// A write that searches are to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedWrite {
    /// The document's key.
    pub key: String,
    /// The key's version after it.
    pub version: Version,
    /// It left no document.
    pub is_deletion: bool,
}

impl AwaitedWrite {
    /// Whether it is seen where this version of the document is found.
    #[must_use]
    pub fn is_seen(&self, found: Option<Version>) -> bool {
        found.map_or(self.is_deletion, |found| found >= self.version)
    }
}

/// Finds documents.
#[async_trait]
pub trait Searcher: Debug + Send + Sync + 'static {
    /// The word for it in answers, cursors and metrics.
    fn name(&self) -> &'static str;

    /// A page of the documents that fit. Changes nothing, and may be repeated; dropped half-way, it is given up.
    ///
    /// Filters, exact totals and orders by a field are the same for all searchers of the same documents; each may end
    /// counting at a number of its own, and says so. From page to page each document that fits and
    /// stays as it is comes once; in an order by relevance, one that moves because others were written may be repeated or
    /// passed over, and the pages of another searcher are not gone on with but begun anew.
    ///
    /// # Errors
    /// `Refused` when the query cannot be asked, `TooLarge` when it takes more than it may; neither would be mended by
    /// asking again or elsewhere. `Unavailable`, `Blocked`, `Denied`, `Configuration`, `Contract`.
    async fn search(&self, query: &Query) -> Result<Found, Error>;

    /// Whether every search from now on sees these writes: what is stored and not refreshed yet is not seen.
    ///
    /// # Errors
    /// As for [`search`](Self::search).
    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error>;
}
