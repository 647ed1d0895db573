//! The versions of keys, as the database keeps them: for comparing with an index, and for outdoing it.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Error;
use crate::port::projection::Projection;
use crate::version::Version;

/// The state of one key, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The key.
    pub key: String,
    /// Which state this is, as of [`Current`](super::Current).
    pub version: Version,
    /// Whether the key has a document.
    pub has_document: bool,
    /// Whether the database can have this key at all: where keys are numbers, `a` is none.
    pub is_possible: bool,
    /// How long ago it got this version, on the database's clock; `None` when nobody ever wrote an event for it.
    pub age: Option<Duration>,
}

/// Some of the keys that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The keys.
    pub keys: Vec<String>,
    /// After which key the next ones are; `None` when these are the last.
    pub next: Option<String>,
}

/// A projection whose keys' versions can be read without the documents, and raised. What only reads may be repeated, and
/// dropped half-way nothing happened.
#[async_trait]
pub trait Versions: Projection {
    /// The state of each of these distinct keys now, one for each and in their order, all of one snapshot. As
    /// [`Projection::load`] without the documents; but a key the database cannot have is no error, and
    /// [`is_possible`](KeyState::is_possible) says so.
    ///
    /// # Errors
    /// As for [`Projection::load`].
    async fn states(&self, keys: &[String]) -> Result<Vec<KeyState>, Error>;

    /// As [`Projection::scan`] without the documents: up to `limit` keys that have one, in the same order.
    ///
    /// # Errors
    /// As for [`Projection::load`].
    async fn scan_states(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeyState>, Error>;

    /// Up to `limit` keys that got their version at `since` or later, deleted ones too, those after `after` in an order
    /// of their own. Few keys, or none, do not mean that these are the last.
    ///
    /// # Errors
    /// As for [`Projection::load`].
    async fn changed(&self, since: Timestamp, after: Option<&str>, limit: usize) -> Result<Changed, Error>;

    /// Gives each of these keys a version above this one, later epochs included, and writes an event for it, as if it had
    /// changed; whoever writes the key later gets a higher one still. May be repeated: versions are raised again.
    /// Dropped half-way, or after an error, all or none of them are raised.
    ///
    /// Where that takes another epoch, it begins, and rows that were agreed upon before are refused as `Fenced`.
    ///
    /// # Errors
    /// `Contract` when the version is so high that outdoing it would leave too few; `Unavailable`, `Denied`,
    /// `Configuration`.
    async fn raise(&self, keys: &[String], above: Version) -> Result<(), Error>;
}
