//! Where events go that cannot be applied, with the reason, until a person decides.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Error;

/// Where a parked event came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// The partition; `-1` for an event that never reached the bus.
    pub partition: i32,
    /// The offset there, or the event's id in the outbox; `-1` when a repair came upon the key, not a message.
    pub offset: i64,
}

impl Origin {
    /// Of an event of this id that never reached the bus.
    #[must_use]
    pub const fn unpublished(topic: String, event: i64) -> Self {
        Self { topic, partition: -1, offset: event }
    }

    /// Whether it is of an event that never reached the bus.
    #[must_use]
    pub const fn is_unpublished(&self) -> bool {
        self.partition == -1
    }

    /// Of a key of `topic` that a repair came upon.
    #[must_use]
    pub fn repair(topic: &str) -> Self {
        Self { topic: topic.to_owned(), partition: 0, offset: -1 }
    }
}

/// An event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Who could do nothing with it: the name of an index, or of a subscription whose relay could not publish it.
    pub reader: String,
    /// Where it came from.
    pub origin: Origin,
    /// The event's id in the outbox, where the message said it.
    pub event: Option<i64>,
    /// The entity's key, if it had a usable one.
    pub key: Option<String>,
    /// What the event carried, where it is needed to say what it was: of an event that could not be published, and of
    /// a message without a usable key.
    pub value: Option<String>,
    /// The kind of error, as [`ErrorKind::name`](crate::ErrorKind::name) says it.
    pub error_kind: String,
    /// The error in words.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
}

impl DeadLetter {
    /// What the letter is about; of two letters about the same only the one parked later is kept.
    ///
    /// An index that could not take a key lacks the row as it is now, however many events say so. An event that was
    /// never published, and a message without a key, stand for themselves.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.key {
            Some(key) if !self.origin.is_unpublished() => format!("key {key}"),
            Some(_) | None => format!("{} {}", self.origin.partition, self.origin.offset),
        }
    }

    /// As much of the key as people want to be told of.
    #[must_use]
    pub fn short_key(&self) -> Option<String> {
        self.key.as_deref().map(|key| shortened(key, SHORT_KEY))
    }

    /// As much of the error as people want to be told of.
    #[must_use]
    pub fn short_error(&self) -> String {
        shortened(&self.error, SHORT_ERROR)
    }
}

/// Characters of a key that people are told.
const SHORT_KEY: usize = 200;

/// Characters of an error that people are told: it may quote a whole document.
const SHORT_ERROR: usize = 500;

fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A letter that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLetter {
    /// Names this letter; a later one about the same subject has a higher one.
    pub id: i64,
    /// The letter.
    pub letter: DeadLetter,
}

/// Which letters: those that fit everything that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterSelection {
    /// One of these.
    pub ids: Option<Vec<i64>>,
    /// About one of these keys.
    pub keys: Option<Vec<String>>,
    /// Of this reader.
    pub reader: Option<String>,
    /// With this kind of error.
    pub error_kind: Option<String>,
    /// Parked before then.
    pub before: Option<Timestamp>,
}

/// How many letters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCount {
    /// How many.
    pub letters: u64,
    /// When the oldest of them was parked; `None` when there is none.
    pub oldest: Option<Timestamp>,
}

/// Keeps dead letters. Called by several at once. What only reads may be repeated, and dropped half-way nothing happened.
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Stores a letter for good before it returns; it replaces an earlier one of the same reader and topic about the same
    /// [subject](DeadLetter::subject), also where two are parked at once. May be repeated: it is a new letter then. After an
    /// error it is unknown whether it is stored. Dropped half-way, too.
    ///
    /// Any text can be parked, however long: one that could not would stop all that is behind it. A NUL may become another
    /// character.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error>;

    /// Up to `limit` of the selected letters with ids above `after`, lowest first; without their
    /// [values](DeadLetter::value), which may be of any size.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn list(&self, selection: &LetterSelection, after: i64, limit: usize) -> Result<Vec<KeptLetter>, Error>;

    /// One letter, with all it holds; `None` when there is none with that id.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn get(&self, id: i64) -> Result<Option<KeptLetter>, Error>;

    /// How many letters are selected.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn count(&self, selection: &LetterSelection) -> Result<LetterCount, Error>;

    /// Removes these letters and says how many of them there were. A letter that was parked anew has another id, and
    /// stays. May be repeated. Dropped half-way, or after an error, all or none of them are gone.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn remove(&self, ids: &[i64]) -> Result<u64, Error>;
}
