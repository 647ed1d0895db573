//! Dead letters: as they are told, and tried again one by one.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::adapter::postgres::PostgresDeadLetters;
use sync_core::port::{DeadLetter, DeadLetters, KeptLetter, LetterSelection, Origin};
use sync_core::repair::{Replayed, replay};
use sync_core::{Error, ErrorKind};

use crate::config::Config;
use crate::wire::{self, Replayer, Wire};

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
    pub(crate) fn of(kept: &'a KeptLetter) -> Self {
        let DeadLetter { reader, origin, event, key, value, error_kind, error, attempts, parked_at } = &kept.letter;
        let Origin { topic, partition, offset } = origin;
        let was_published = !origin.is_unpublished();
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

/// The dead letters, and what they are tried again with.
#[derive(Debug)]
pub(crate) struct LetterDesk {
    /// The letters.
    pub(crate) letters: PostgresDeadLetters,
    /// By index.
    replayers: Vec<Replayer>,
    /// The relay's name, which its own letters bear.
    subscription: String,
}

/// What became of trying a letter again.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It is gone.
    Done,
    /// It failed again, and is kept under another number, if nobody has decided about that one yet.
    ParkedAnew(Error, Option<i64>),
    /// It was not tried, and is kept as it was.
    Impossible(Error),
}

impl LetterDesk {
    /// Connects when there is something to do.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn new(config: &Config, wire: &Wire<'_>) -> Result<Self, Error> {
        let (letters, replayers) = (wire.dead_letters(), wire.replayers()?);
        Ok(Self { letters, replayers, subscription: config.relay.subscription.clone() })
    }

    /// The number of the letter that took the place of this one.
    async fn newer(&self, kept: &KeptLetter) -> Result<Option<i64>, Error> {
        let DeadLetter { reader, key, origin, .. } = &kept.letter;
        let same = LetterSelection {
            keys: key.clone().map(|key| vec![key]),
            reader: Some(reader.clone()),
            ..LetterSelection::default()
        };
        let newer = self.letters.list(&same, kept.id, 100).await?;
        Ok(newer.iter().rfind(|newer| newer.letter.origin.topic == origin.topic).map(|newer| newer.id))
    }

    /// Tries a letter again. Dropped half-way, it may have been applied and still be there.
    ///
    /// # Errors
    /// What is not the letter's fault: an index or a database that is away, say. It is kept as it was then.
    pub(crate) async fn replay(&self, kept: &KeptLetter) -> Result<Tried, Error> {
        let its_fault = |error: Error| {
            if error.kind() == ErrorKind::Contract { Ok(Tried::Impossible(error)) } else { Err(error) }
        };
        if kept.letter.origin.is_unpublished() && kept.letter.reader == self.subscription {
            return self.letters.emit_again(kept).await.map_or_else(its_fault, |_| Ok(Tried::Done));
        }
        let Some(its) = self.replayers.iter().find(|its| its.index == kept.letter.reader) else {
            let what = format!(
                "dead letter {}: no index {:?} is configured here, so nobody knows its projection; discard it, or use the \
                 configuration it was parked under",
                kept.id, kept.letter.reader
            );
            return Ok(Tried::Impossible(Error::new(ErrorKind::Configuration, what)));
        };
        match replay(kept, &its.projection, &*its.sink, &self.letters, &*wire::clock()).await {
            Ok(Replayed::Done) => Ok(Tried::Done),
            Ok(Replayed::Refused(error)) => Ok(Tried::ParkedAnew(error, self.newer(kept).await?)),
            Err(error) => its_fault(error),
        }
    }
}
