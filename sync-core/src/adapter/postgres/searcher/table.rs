//! The rows that are searched: a projection, and what its failures mean for who searches.

use tokio_postgres::error::SqlState;

use crate::adapter::postgres::connect::Failure;
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};

/// What is searched.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The index's name in the configuration.
    pub(super) index: String,
    /// The projection's SQL.
    pub(super) sql: String,
    /// The topic of its versions, as SQL.
    pub(super) quoted_topic: String,
    /// The text search configuration.
    pub(super) language: String,
}

impl Table {
    pub(super) fn new(index: &str, sql: &str, topic: &str, language: &str) -> Self {
        Self {
            index: index.to_owned(),
            sql: sql.trim().trim_end_matches(';').to_owned(),
            quoted_topic: format!("'{}'", topic.replace('\'', "''")),
            language: language.to_owned(),
        }
    }

    /// What a failed search says. One that takes too long takes as long elsewhere, and is not tried there.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        let doing = format!("searching the rows of indexes.{}", self.index);
        let is_cancelled = match &failure {
            Failure::Told(error) => error.code() == Some(&SqlState::QUERY_CANCELED),
            Failure::Silent(_) => false,
        };
        if is_cancelled {
            let what = format!(
                "{doing}: PostgreSQL would take longer than it may for this search (search.postgres.statement_timeout); ask for \
                 less: another word, a filter more, a narrower range. `sync-runner search-indexes` says which indexes are \
                 missing"
            );
            return Error::new(ErrorKind::TooLarge, what);
        }
        from_postgres(doing, failure)
    }
}
