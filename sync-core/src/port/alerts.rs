//! Telling people, and knowing of what they have not been told.

use std::fmt::{self, Debug};
use std::time::Duration;

use async_trait::async_trait;

use super::dead_letters::Kept;
use crate::error::Error;

/// What people are told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// One letter, or several that came faster than people want to be told. Never none; their
    /// [values](super::DeadLetter::value) are left out.
    pub letters: Vec<Kept>,
}

impl fmt::Display for Alert {
    /// One line for people, of a length that chats take.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Kept { id, letter }) = self.letters.first() else { return f.write_str("no dead letter") };
        match self.letters.len() - 1 {
            0 => write!(f, "dead letter {id} of {}: ", letter.reader)?,
            more => write!(f, "dead letter {id} of {} and {more} more, the first one: ", letter.reader)?,
        }
        if let Some(key) = letter.short_key() {
            write!(f, "key {key:?}: ")?;
        }
        f.write_str(&letter.short_error())
    }
}

/// A way to tell people.
#[async_trait]
pub trait AlertHandler: Debug + Send + Sync + 'static {
    /// Tells it; returns once it was taken. After an error, and dropped half-way, it is unknown whether it was, and it
    /// may be told again.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`. Whatever it is, the same is told again after a while.
    async fn alert(&self, alert: &Alert) -> Result<(), Error>;
}

/// The letters nobody was told of yet.
#[async_trait]
pub trait Unannounced: Debug + Send + Sync + 'static {
    /// Up to `limit` of them, lowest ids first and without their [values](super::DeadLetter::value). Nobody else gets
    /// them for as long as `lease`, and then again everybody does who asks, unless they were
    /// [announced](Self::announced). A letter that is parked anew is a new one. Dropped half-way, they may be claimed.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Kept>, Error>;

    /// People know of these letters. May be repeated; ids that are not there are passed over.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn announced(&self, ids: &[i64]) -> Result<(), Error>;
}
