//! Re-indexes as they are run: so that one goes on where it was, and live changes reach the new index meanwhile.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Error;

/// How far a re-index is. In each phase, beginning again what belongs to it does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReindexPhase {
    /// Live changes and every row go into the new index.
    Filling,
    /// The new index is compared with the database.
    Comparing,
    /// Searches and writers move to the new index.
    Switching,
    /// They have moved; the old index is kept as it was.
    Switched,
    /// Live changes go into the old index again, and it is compared with the database.
    Returning,
    /// Searches and writers move back to the old index.
    SwitchingBack,
    /// The old index is gone.
    Finished,
    /// The new index is gone, and was never searched.
    Aborted,
    /// The new index is gone again.
    RolledBack,
}

impl ReindexPhase {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Filling,
        Self::Comparing,
        Self::Switching,
        Self::Switched,
        Self::Returning,
        Self::SwitchingBack,
        Self::Finished,
        Self::Aborted,
        Self::RolledBack,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Comparing => "comparing",
            Self::Switching => "switching",
            Self::Switched => "switched",
            Self::Returning => "returning",
            Self::SwitchingBack => "switching_back",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Finished | Self::Aborted | Self::RolledBack)
    }

    /// Whether it is on the way back to the old index.
    #[must_use]
    pub const fn is_return(self) -> bool {
        matches!(self, Self::Returning | Self::SwitchingBack)
    }

    /// Whether live changes are on their way to the index that is not searched.
    #[must_use]
    pub const fn is_followed(self) -> bool {
        matches!(self, Self::Filling | Self::Comparing | Self::Switching | Self::Returning | Self::SwitchingBack)
    }
}

impl fmt::Display for ReindexPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " "))
    }
}

/// What a re-index is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReindexOf {
    /// The index, as its configuration calls it.
    pub index: String,
    /// The topic it follows.
    pub topic: String,
    /// The concrete index that is searched when it begins.
    pub old: String,
    /// The concrete index that is to take its place.
    pub new: String,
    /// What the new one is made of, as in the configuration: JSON text with settings and mappings.
    pub mapping: String,
}

/// A re-index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reindexing {
    /// Its number.
    pub id: i64,
    /// What it is about.
    pub about: ReindexOf,
    /// How far it is.
    pub phase: ReindexPhase,
    /// Why it did not go on when it last ended.
    pub problem: Option<String>,
    /// When it was begun.
    pub began_at: Timestamp,
}

impl Reindexing {
    /// The concrete index that is to be searched next.
    #[must_use]
    pub fn target(&self) -> &str {
        if self.phase.is_return() { &self.about.old } else { &self.about.new }
    }

    /// The subscription by which live changes reach that one. No other is ever called so: a process that wakes after its
    /// re-index is over must not move another's position.
    #[must_use]
    pub fn subscription(&self) -> String {
        let (id, index) = (self.id, &self.about.index);
        if self.phase.is_return() {
            format!("reindex {id} of {index}, back")
        } else {
            format!("reindex {id} of {index}")
        }
    }
}

/// Keeps re-indexes. Of one index, one at a time is unfinished; of several who begin one at once, one does. Everything may be
/// repeated; dropped half-way, or after `Unavailable`, it may have happened. `hold` is called beside the others.
#[async_trait]
pub trait Reindexes: Debug + Send + Sync + 'static {
    /// The unfinished re-index of this index; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn unfinished(&self, index: &str) -> Result<Option<Reindexing>, Error>;

    /// The concrete indexes that re-indexes of this index have made, or were to make.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn names(&self, index: &str) -> Result<Vec<String>, Error>;

    /// Begins one, in this holder's hands. In the same transaction its subscription is made: it will be given all that is
    /// not committed yet. Repeated, it answers with the one it has begun.
    ///
    /// # Errors
    /// `Fenced` when there is another unfinished one of this index; `Unavailable`, `Denied`, `Configuration`.
    async fn begin(&self, of: &ReindexOf) -> Result<Reindexing, Error>;

    /// Takes it into this holder's hands, or keeps it there, for as long as the store's lease says; answers with it as it
    /// is now.
    ///
    /// # Errors
    /// `Fenced` while it is somebody else's; `Configuration` when it is over; `Unavailable`, `Denied`.
    async fn hold(&self, of: &Reindexing) -> Result<Reindexing, Error>;

    /// Records how far it has come. A phase in which live changes are not followed takes its subscription away; the first on
    /// the way back makes it, to be given all that is not committed yet.
    ///
    /// # Errors
    /// `Fenced` when it is somebody else's by now; `Configuration` when it is over; `Unavailable`, `Denied`.
    async fn reach(&self, of: &Reindexing, phase: ReindexPhase) -> Result<(), Error>;

    /// Lets it go, saying what was wrong, if anything was; somebody else's stays as it is.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn release(&self, of: &Reindexing, problem: Option<&str>) -> Result<(), Error>;

    /// What is committed now, for [`has_passed`](Self::has_passed).
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn committed(&self) -> Result<String, Error>;

    /// Whether everything that was committed then and its subscription is about has been dealt with.
    ///
    /// # Errors
    /// `Configuration` when its subscription is gone; `Unavailable`, `Denied`.
    async fn has_passed(&self, of: &Reindexing, committed: &str) -> Result<bool, Error>;
}
