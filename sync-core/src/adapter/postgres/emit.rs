//! Writing an event inside the caller's own transaction.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::event::Action;

/// A change to write to the outbox.
#[derive(Clone, Debug)]
pub struct Emit<'a> {
    topic: &'a str,
    key: &'a str,
    action: Action,
    payload: Option<&'a RawValue>,
    headers: BTreeMap<&'a str, &'a str>,
}

impl<'a> Emit<'a> {
    /// The entity `key` was created or changed. A topic is one Kafka accepts; a key has 1 to 512 bytes.
    #[must_use]
    pub const fn index(topic: &'a str, key: &'a str) -> Self {
        Self { topic, key, action: Action::Index, payload: None, headers: BTreeMap::new() }
    }

    /// The entity `key` was deleted.
    #[must_use]
    pub const fn delete(topic: &'a str, key: &'a str) -> Self {
        Self { topic, key, action: Action::Delete, payload: None, headers: BTreeMap::new() }
    }

    /// The message's value, instead of the standard one.
    #[must_use]
    pub const fn payload(mut self, payload: &'a RawValue) -> Self {
        self.payload = Some(payload);
        self
    }

    /// One more header of the message; of two with one name the later counts.
    #[must_use]
    pub fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Writes `change` through `client`, a connection or better a transaction, and returns the key's new version.
///
/// The event becomes visible when the transaction commits, and never if it does not. It waits for any other open
/// transaction that has written an event of this key. One round trip, nothing prepared. With deadpool,
/// dereference its wrapper: `emit(&*transaction, …)`, and `emit(&**client, …)` of a pooled connection. Dropped half-way, it
/// may have been written: the transaction decides.
///
/// # Errors
/// `Contract` when topic or key is none; `Unavailable` also for a deadlock or a serialization failure, after which the
/// transaction has to be tried again as a whole; `Denied` when the role was not let in with `outbox.grant_writer`;
/// `Configuration` when the outbox was not migrated.
pub async fn emit<C: GenericClient>(client: &C, change: &Emit<'_>) -> Result<i64, Error> {
    let payload = change.payload.map(RawValue::get);
    let headers = if change.headers.is_empty() { None } else { Some(text_of(&change.headers)?) };
    let row = client
        .query_typed_one(
            "select outbox.emit($1, $2, $3, $4::text::jsonb, $5::text::jsonb)",
            &[
                (&change.topic, Type::TEXT),
                (&change.key, Type::TEXT),
                (&change.action.as_str(), Type::TEXT),
                (&payload, Type::TEXT),
                (&headers, Type::TEXT),
            ],
        )
        .await
        .map_err(|error| from_postgres(format!("writing an event for topic {}", change.topic), error))?;
    Ok(row.get(0))
}

fn text_of(headers: &BTreeMap<&str, &str>) -> Result<String, Error> {
    serde_json::to_string(headers)
        .map_err(|error| Error::new(ErrorKind::Internal, "writing headers as JSON").with_source(error))
}
