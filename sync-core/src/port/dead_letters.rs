//! Where events go that cannot be applied, with the reason, until a person decides.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Error;

/// Where a parked event came from. Parking the same origin twice keeps one letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// The partition; `-1` for an event that never reached the bus.
    pub partition: i32,
    /// The offset there, or the event's id in the outbox.
    pub offset: i64,
}

/// An event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from.
    pub origin: Origin,
    /// The entity's key, if it had one.
    pub key: Option<String>,
    /// The message's value, if it had one and it was text.
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

/// Keeps dead letters.
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Stores a letter for good before it returns. A second one of the same origin replaces the first. After an error
    /// it is unknown whether it is stored.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error>;

    /// Up to `limit` letters, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, Error>;

    /// Removes the letter of this origin; says whether there was one.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn remove(&self, origin: &Origin) -> Result<bool, Error>;
}
