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

/// Finds documents. Asked by many at once.
///
/// Three calls stand at the beginning of every search: [`Query::check`] refuses what cannot be asked of the fields,
/// [`Query::page_order`] says the order of the page, and [`Query::begins_after`], told the searcher's own
/// [`name`](Self::name), where it begins. That may be a place another searcher has given: in an order by a field either kind of
/// [place](crate::query::Place) is gone on from.
///
/// The [`Cursor`] of the next page holds that name, the order of this page, how many documents there were up to its end, those
/// of the pages before it included, and the place: behind its last document, whose value in the order and whose key it says. By
/// relevance the number alone may be the place; pages end then at [`MAX_DEPTH`](crate::query::MAX_DEPTH) documents. There is no
/// cursor where no document follows.
#[async_trait]
pub trait Searcher: Debug + Send + Sync + 'static {
    /// The word for it in answers, cursors and metrics. It stays the same from one program to the next, for whoever searches
    /// keeps cursors; and it is not that of the other searcher of the same documents, whose ranks are not gone on with.
    fn name(&self) -> &'static str;

    /// A page of the documents that fit. Changes nothing, and may be repeated; dropped half-way, it is given up.
    ///
    /// Filters, exact totals and orders by a field are the same for all searchers of the same documents; each may end
    /// counting at a number of its own, and says so. From page to page each document that fits and
    /// stays as it is comes once; in an order by relevance, one that moves because others were written may be repeated or
    /// passed over, and the pages of another searcher are not gone on with but begun anew.
    ///
    /// What `wrote` of the query names has been seen: of an index that is asked beforehand, by [`shows`](Self::shows); a
    /// database sees to it itself.
    ///
    /// # Errors
    /// `Refused` when the query cannot be asked: nobody else is asked then. `TooLarge` when it takes more than it may; asking
    /// the same again would not mend it. `Unavailable`, `Blocked`, `Denied`, `Configuration`, `Contract`.
    async fn search(&self, query: &Query) -> Result<Found, Error>;

    /// Whether every search from now on [sees](AwaitedWrite::is_seen) these writes: what is stored and not refreshed yet is not
    /// seen. Of no writes, it is. It only looks: it is asked again and again while a write is waited for, and may be dropped.
    ///
    /// # Errors
    /// As for [`search`](Self::search).
    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error>;
}
