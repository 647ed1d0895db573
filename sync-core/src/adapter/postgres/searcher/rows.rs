//! The rows that are searched: a projection, and what its failures mean for who searches.

use tokio_postgres::error::SqlState;

use super::columns::literal;
use crate::adapter::postgres::connect::Failure;
use crate::adapter::postgres::error::from_postgres;
use crate::adapter::postgres::projection::as_subquery;
use crate::error::{Error, ErrorKind};

/// What is searched.
#[derive(Clone, Debug)]
pub(super) struct SearchedRows {
    /// The index's name in the configuration.
    pub(super) index: String,
    /// The projection's SQL.
    pub(super) sql: String,
    /// The topic of its versions, as SQL.
    pub(super) quoted_topic: String,
    /// The text search configuration, as SQL.
    pub(super) regconfig: String,
}

impl SearchedRows {
    pub(super) fn new(index: &str, sql: &str, topic: &str, language: &str) -> Self {
        Self {
            index: index.to_owned(),
            sql: as_subquery(sql).to_owned(),
            quoted_topic: literal(topic),
            regconfig: format!("{}::regconfig", literal(language)),
        }
    }

    /// What a failed search says. One that takes too long takes as long elsewhere, and is not tried there.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        const LIMIT: &str = "search.postgres.statement_timeout";
        let doing = format!("searching the rows of indexes.{}", self.index);
        match failure {
            Failure::Told(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                let what = format!(
                    "{doing}: PostgreSQL would take longer than it may ({LIMIT}); `sync-runner search-indexes` \
                     (`PostgresSearcher::indexes`) says which indexes are missing"
                );
                Error::new(ErrorKind::TooLarge, what)
            }
            Failure::Silent(limit) => {
                let what =
                    format!("{doing}: PostgreSQL said nothing for {limit:?} ({LIMIT}); the connection was given up");
                Error::new(ErrorKind::Unavailable, what)
            }
            failure @ Failure::Told(_) => from_postgres(doing, failure),
        }
    }
}
