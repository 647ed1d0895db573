//! What an answer of PostgreSQL means. The only place that reads its SQLSTATEs.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

use super::connect::Failure;
use crate::error::{Error, ErrorKind, Remedy};

/// Translates an error of the client crate, or that there was no answer.
pub(crate) fn from_postgres(action: impl Into<String>, failure: impl Into<Failure>) -> Error {
    let action = action.into();
    let error = match failure.into() {
        Failure::Told(error) => error,
        Failure::Silent(limit) => {
            let what = format!(
                "{action}: PostgreSQL said nothing for {limit:?}, so the connection was given up; if a statement may \
                 take longer, raise postgres.statement_timeout"
            );
            return Error::new(ErrorKind::Unavailable, what);
        }
    };
    let Some(database) = error.as_db_error() else {
        return without_answer(action, error);
    };
    let kind = kind_of(database.code());
    let mut said = format!("{action}: {} (SQLSTATE {})", database.message(), database.code().code());
    for (label, more) in [("detail", database.detail()), ("hint", database.hint())] {
        if let Some(more) = more {
            said = format!("{said}; {label}: {more}");
        }
    }
    if let Some(mend) = mend(database) {
        said = format!("{said}; {mend}");
    }
    let missing = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME];
    if missing.contains(database.code()) && database.message().contains("outbox") {
        said = format!("{said}; `sync-runner migrate` (`Pipeline::migrate`) creates the outbox");
    }
    if database.code() == &SqlState::QUERY_CANCELED {
        // It may be the fault of this very key, but nobody can tell that from a server that is busy: it counts as an
        // outage, so that no load parks documents.
        said = format!("{said}; postgres.statement_timeout says how long a statement may take");
    }
    Error::new(kind, said)
}

/// What to do about it, where PostgreSQL does not say.
fn mend(said: &DbError) -> Option<&'static str> {
    let code = said.code();
    if code == &SqlState::INSUFFICIENT_PRIVILEGE && said.hint().is_none() {
        return Some(
            "grant it to the user of postgres.url, or have the owner do it; `sync-runner check` names what of the outbox is lacking",
        );
    }
    if code == &SqlState::INVALID_PASSWORD || code == &SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return Some("see postgres.url, and postgres.password or postgres.password_file");
    }
    (code == &SqlState::INVALID_CATALOG_NAME).then_some("name another one in postgres.url, or create it")
}

/// Translates an error of the pool.
pub(crate) fn from_pool(action: &str, error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => from_postgres(action, error),
        error @ (PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_)) => {
            Error::new(ErrorKind::Unavailable, format!("{action}: no connection to PostgreSQL")).with_source(error)
        }
    }
}

/// Whether trying again may help, before anybody has mended anything.
pub(super) fn may_pass(error: &tokio_postgres::Error) -> bool {
    let kind = error.as_db_error().map_or_else(|| kind_by_words(&error.to_string()).0, |said| kind_of(said.code()));
    kind.remedy() == Remedy::Retry
}

/// Whether a row has what only one row may have.
pub(super) fn is_duplicate(failure: &Failure) -> bool {
    match failure {
        Failure::Told(error) => error.code() == Some(&SqlState::UNIQUE_VIOLATION),
        Failure::Silent(_) => false,
    }
}

/// The connection failed before the server could say anything.
fn without_answer(action: String, error: tokio_postgres::Error) -> Error {
    let (kind, hint) = kind_by_words(&error.to_string());
    let action = if hint.is_empty() { action } else { format!("{action}: {hint}") };
    Error::new(kind, action).with_source(error)
}

/// The client crate keeps its own list of kinds to itself; its words are all there is.
fn kind_by_words(words: &str) -> (ErrorKind, &'static str) {
    if words.contains("server does not support TLS") {
        let hint = "sslmode=require asks for TLS; switch it on at the server, or say sslmode=prefer or disable in postgres.url";
        return (ErrorKind::Configuration, hint);
    }
    if words.starts_with("error performing TLS handshake") {
        let hint = "PostgreSQL's certificate was not accepted; see postgres.ca_file and sslmode";
        return (ErrorKind::Configuration, hint);
    }
    if words.starts_with("invalid configuration") || words.starts_with("invalid connection string") {
        let hint = "see postgres.url, and postgres.password or postgres.password_file";
        return (ErrorKind::Configuration, hint);
    }
    if words.starts_with("authentication error") {
        return (ErrorKind::Denied, "postgres.url or postgres.password");
    }
    (ErrorKind::Unavailable, "")
}

fn kind_of(code: &SqlState) -> ErrorKind {
    match code.code() {
        // Read-only transaction: this server is a standby, or became one. Its primary will answer.
        "25006" => ErrorKind::Unavailable,
        // The transaction waited, for a lock perhaps, for longer than it may.
        "25P03" | "25P04" => ErrorKind::Unavailable,
        "42501" => ErrorKind::Denied,
        // A deadlock or a serialization failure passes when tried again, as does a cancelled or timed-out statement.
        code => match code.get(..2).unwrap_or_default() {
            "08" | "40" | "53" | "55" | "57" | "58" => ErrorKind::Unavailable,
            "28" => ErrorKind::Denied,
            "3D" | "3F" | "42" | "0A" | "26" => ErrorKind::Configuration,
            "XX" => ErrorKind::Internal,
            // Data the statement cannot digest, raised exceptions, broken constraints, and what later versions add: taken
            // for the fault of the one key that was asked for, which is parked with the server's words.
            _ => ErrorKind::Contract,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_tls_is_told_from_a_certificate_that_is_not_trusted() {
        let (kind, hint) = kind_by_words("error performing TLS handshake: server does not support TLS");
        assert_eq!(kind, ErrorKind::Configuration);
        assert!(hint.contains("sslmode=prefer") && !hint.contains("certificate"), "{hint}");
        let (_, hint) = kind_by_words("error performing TLS handshake: invalid peer certificate: UnknownIssuer");
        assert!(hint.contains("postgres.ca_file"), "{hint}");
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_data_is_told_from_settings() {
        let remedy = |code| kind_of(&SqlState::from_code(code)).remedy();
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01", "57014", "25006", "25P04"] {
            assert_eq!(remedy(code), Remedy::Retry, "{code}");
        }
        for code in ["28P01", "42501", "42P01", "3D000", "XX000"] {
            assert_eq!(remedy(code), Remedy::Halt, "{code}");
        }
        for code in ["22P02", "22012", "23505", "P0001"] {
            assert_eq!(remedy(code), Remedy::Park, "{code}");
        }
    }
}
