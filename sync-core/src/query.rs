//! What is searched for, in words an index and a database both understand.
//!
//! A text such as `invoice "annual report" -draft status:OPEN,PAID priority:>=3 created_at:2026-01-01..2026-01-31` is read by
//! [`Query::parse`]; a program may put a [`Query`] together itself. Both sides find the same documents for the same filters.
//! What is looked for in text goes by each side's own notion of a word, and only an index ranks all of it by relevance.

mod condition;
mod cursor;
mod fields;
mod lexer;
mod mapping;
mod parse;

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

#[cfg(feature = "elasticsearch")]
pub(crate) use self::condition::whole_milliseconds;
pub use self::condition::{Condition, Filter, Pattern, Value};
pub use self::cursor::{Cursor, Place};
pub use self::fields::{Field, FieldKind, FieldNames, Fields, TextField};
pub(crate) use self::parse::moment;
use crate::error::{Error, ErrorKind};

/// One search.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Each of them has to be found in one of the text fields.
    pub text: Vec<Words>,
    /// All of them have to hold.
    pub filters: Vec<Filter>,
    /// `None`: by relevance where there is text to look for, else the order of [`Fields`].
    pub order: Option<Order>,
    /// Fields whose values are counted among all that was found.
    pub facets: Vec<String>,
    /// Documents wanted, 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// What the answer has to have seen.
    pub wrote: Vec<Wrote>,
}

/// Documents of one answer, at most.
pub const MAX_LIMIT: usize = 100;

/// How far an order by relevance can be followed, and up to which number matches are counted.
pub const MAX_DEPTH: usize = 10_000;

/// Words, filters and values of one query, at most.
pub const MAX_PARTS: usize = 100;

/// Facets of one query, at most.
pub const MAX_FACETS: usize = 10;

/// Different values of one facet that are told, the most frequent ones.
pub const MAX_FACET_VALUES: usize = 20;

impl Default for Query {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            filters: Vec::new(),
            order: None,
            facets: Vec::new(),
            limit: 20,
            after: None,
            wrote: Vec::new(),
        }
    }
}

/// Something to be found in text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// It must not be there.
    pub is_excluded: bool,
    /// What.
    pub what: Text,
}

/// What text may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// This word.
    Word(String),
    /// A word that begins so.
    Prefix(String),
    /// These words one after the other, in one field.
    Phrase(String),
}

impl Text {
    /// As it was written, without quotes and asterisk.
    #[must_use]
    pub fn written(&self) -> &str {
        let (Self::Word(text) | Self::Prefix(text) | Self::Phrase(text)) = self;
        text
    }
}

/// In which order documents come. Those that are equal in it come in the order of their keys, which is turned round with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// What fits best first.
    Relevance,
    /// By a field. What has no value there comes last either way.
    By {
        /// Its name.
        field: String,
        /// The largest first.
        descending: bool,
    },
}

impl Order {
    /// Reads `relevance`, `created_at` or `-created_at`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(field) => Self::By { field: field.to_owned(), descending: true },
            None if text == "relevance" => Self::Relevance,
            None => Self::By { field: text.to_owned(), descending: false },
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relevance => f.write_str("relevance"),
            Self::By { field, descending } => write!(f, "{}{field}", if *descending { "-" } else { "" }),
        }
    }
}

/// A write that an answer has to have seen. Where the database can be asked, it says what there is of the key now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// The key of the document.
    pub key: String,
    /// What `outbox.emit` returned: by it a replica is known to have the write when the primary cannot be asked.
    pub version: Option<u64>,
}

impl Wrote {
    /// Reads `KEY` or `KEY@VERSION`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let versioned = text.rsplit_once('@').and_then(|(key, version)| Some((key, version.parse().ok()?)));
        match versioned {
            Some((key, version)) => Self { key: key.to_owned(), version: Some(version) },
            None => Self { key: text.to_owned(), version: None },
        }
    }
}

impl Query {
    /// Reads a text in the query language. The order, facets and the rest are set on what this returns.
    ///
    /// # Errors
    /// `Refused`, saying what cannot be read and what could.
    pub fn parse(text: &str, fields: &Fields) -> Result<Self, Error> {
        parse::parse(text, fields)
    }

    /// Whether it can be asked of these fields.
    ///
    /// # Errors
    /// `Refused`, saying what is wrong.
    pub fn check(&self, fields: &Fields) -> Result<(), Error> {
        if self.limit == 0 || self.limit > MAX_LIMIT {
            return Err(refused(format!("limit: {} is not within 1 to {MAX_LIMIT}", self.limit)));
        }
        let parts = self.filters.iter().map(Filter::parts).sum::<usize>() + self.text.len() + self.wrote.len();
        if parts > MAX_PARTS {
            return Err(refused(format!("the query has {parts} parts, more than {MAX_PARTS}; say less at once")));
        }
        let texts =
            self.text.iter().map(|words| words.what.written()).chain(self.wrote.iter().map(|wrote| wrote.key.as_str()));
        if texts.into_iter().any(|text| !condition::is_text(text)) {
            return Err(refused("the text holds a character of code 0, which no text in a database has"));
        }
        if fields.text().is_empty() && !self.text.is_empty() {
            return Err(refused(
                "no field of this index holds text to look in; only filters (field:value) can be used",
            ));
        }
        for filter in &self.filters {
            filter.check(fields)?;
        }
        if let Some(Order::By { field, .. }) = &self.order {
            let known = fields.get(field)?;
            if known.is_many {
                return Err(refused(format!("sort: {field} has several values a document, and gives no order")));
            }
        }
        if self.facets.len() > MAX_FACETS {
            return Err(refused(format!("facets: {} are more than {MAX_FACETS}", self.facets.len())));
        }
        for (place, facet) in self.facets.iter().enumerate() {
            if self.facets[..place].contains(facet) {
                return Err(refused(format!("facets: {facet} is named twice")));
            }
            if fields.get(facet)?.kind != FieldKind::Keyword {
                return Err(refused(format!("facets: {facet} is no keyword, and is not counted by value")));
            }
        }
        match &self.after {
            Some(cursor) => cursor.check(self, fields),
            None => Ok(()),
        }
    }

    /// Where a searcher of this name goes on. What another has ranked is not in its own order: that is begun anew.
    #[must_use]
    pub fn begins_after(&self, name: &str) -> Option<&Cursor> {
        self.after.as_ref().filter(|cursor| cursor.by == name || cursor.order != Order::Relevance)
    }

    /// The order of its page: that of the page before.
    #[must_use]
    pub fn page_order(&self, fields: &Fields) -> Order {
        self.after.as_ref().map_or_else(|| self.order_in(fields), |cursor| cursor.order.clone())
    }

    /// The order that is meant.
    #[must_use]
    pub fn order_in(&self, fields: &Fields) -> Order {
        match &self.order {
            None | Some(Order::Relevance) if self.text.iter().all(|words| words.is_excluded) => fields.order().clone(),
            None => Order::Relevance,
            Some(order) => order.clone(),
        }
    }
}

/// The words of a text as Unicode has them, in their order and without regard to case.
pub(crate) fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.unicode_words().map(str::to_lowercase)
}

/// What a caller asked wrongly.
pub(crate) fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Refused, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_written_as_it_is_read() {
        for text in ["relevance", "created_at", "-workspace.name"] {
            assert_eq!(Order::parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_was_written_is_a_key_with_a_version_or_without() {
        let read = |text| {
            let Wrote { key, version } = Wrote::parse(text);
            (key, version)
        };
        assert_eq!(read("a"), ("a".to_owned(), None));
        assert_eq!(read("a@b@7"), ("a@b".to_owned(), Some(7)));
        assert_eq!(read("me@example.com"), ("me@example.com".to_owned(), None));
    }
}
