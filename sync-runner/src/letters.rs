//! Dead letters: as they are told, and tried again one by one.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::adapter::postgres::PostgresDeadLetters;
use sync_core::port::{DeadLetter, Kept, Origin};
use sync_core::repair::{Replayed, replay};
use sync_core::{Error, ErrorKind};

use crate::wire::{self, Replayer};

/// One letter.
#[derive(Debug, Serialize)]
pub(crate) struct Letter<'a> {
    pub(crate) id: i64,
    pub(crate) reader: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) error_kind: &'a str,
    pub(crate) error: &'a str,
    pub(crate) attempts: u32,
    pub(crate) parked_at: Timestamp,
    pub(crate) topic: &'a str,
    /// Absent of an event that was never published.
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    pub(crate) event: Option<i64>,
    pub(crate) value: Option<&'a str>,
}

impl<'a> Letter<'a> {
    pub(crate) fn of(kept: &'a Kept) -> Self {
        let DeadLetter { reader, origin, event, key, value, error_kind, error, attempts, parked_at } = &kept.letter;
        let Origin { topic, partition, offset } = origin;
        let was_published = *partition >= 0;
        Self {
            id: kept.id,
            reader,
            key: key.as_deref(),
            error_kind,
            error,
            attempts: *attempts,
            parked_at: *parked_at,
            topic,
            partition: was_published.then_some(*partition),
            offset: was_published.then_some(*offset),
            event: *event,
            value: value.as_deref(),
        }
    }
}

/// `None` when the letter is gone, otherwise why it is not. An error is not the letter's fault.
pub(crate) async fn replay_one(
    kept: &Kept,
    replayers: &[Replayer],
    subscription: &str,
    letters: &PostgresDeadLetters,
) -> Result<Option<Error>, Error> {
    let its_fault = |error: Error| if error.kind() == ErrorKind::Contract { Ok(Some(error)) } else { Err(error) };
    if kept.letter.origin.partition < 0 && kept.letter.reader == subscription {
        return letters.emit_again(kept).await.map_or_else(its_fault, |_| Ok(None));
    }
    let Some(Replayer { projection, sink, .. }) = replayers.iter().find(|its| its.index == kept.letter.reader) else {
        let what = format!(
            "dead letter {}: no index {:?} is configured here, so nobody knows its projection; discard it, or use the \
             configuration it was parked under",
            kept.id, kept.letter.reader
        );
        return Ok(Some(Error::new(ErrorKind::Configuration, what)));
    };
    match replay(kept, projection, sink, letters, &*wire::clock()).await {
        Ok(Replayed::Done) => Ok(None),
        Ok(Replayed::Refused(error)) => Ok(Some(error)),
        Err(error) => its_fault(error),
    }
}
