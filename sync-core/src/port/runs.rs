//! Long repairs as they are run: so that one goes on where it was, and people see what was done when.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Error;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunKind {
    /// Every row of the projection into the index.
    Backfill,
    /// Index and database compared, and put right.
    Reconcile,
}

impl RunKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Reconcile => "reconciliation",
        }
    }
}

/// A run in the hands of whoever began it or took it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// All keys up to this one are done, in the projection's order; `None`: none yet.
    pub after: Option<String>,
    /// What was done so far, by name.
    pub counts: BTreeMap<String, u64>,
    /// When it was begun for the first time.
    pub began_at: Timestamp,
}

/// A run as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    /// As it was recorded last.
    pub run: Run,
    /// What it does.
    pub kind: String,
    /// The index.
    pub index: String,
    /// When it was done, or given up; `None` while it may go on.
    pub ended_at: Option<Timestamp>,
    /// How it stands.
    pub state: RunState,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunState {
    /// Somebody works on it.
    Running,
    /// Nobody does: the next backfill goes on with it, the next reconciliation begins anew.
    Interrupted,
    /// It came to its end.
    Finished,
    /// Another one took its place.
    GivenUp,
}

impl RunState {
    /// How one stands that is held, has ended or was given up.
    pub(crate) const fn of(is_held: bool, has_ended: bool, was_given_up: bool) -> Self {
        match (has_ended, was_given_up, is_held) {
            (true, true, _) => Self::GivenUp,
            (true, false, _) => Self::Finished,
            (false, _, true) => Self::Running,
            (false, _, false) => Self::Interrupted,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Finished => "finished",
            Self::GivenUp => "given_up",
        }
    }
}

/// Keeps runs. Of one kind and index, one at a time is unfinished; of several who begin one at once, one does.
#[async_trait]
pub trait Runs: Debug + Send + Sync + 'static {
    /// Takes up the unfinished run of this kind and index, or begins one. It is then this holder's, until it is finished,
    /// let go, or not recorded for as long as the store's lease says. May be repeated; dropped half-way, it may have
    /// happened.
    ///
    /// # Errors
    /// `Fenced` while it is somebody else's, saying whose and for how long; `Unavailable`, `Denied`, `Configuration`.
    async fn begin(&self, kind: RunKind, index: &str) -> Result<Run, Error>;

    /// Records how far it has come, and keeps it this holder's. May be repeated. Dropped half-way, or after `Unavailable`, it
    /// may have been recorded.
    ///
    /// # Errors
    /// `Fenced` when it is somebody else's by now, or over; `Unavailable`, `Denied`, `Configuration`.
    async fn record(&self, run: &Run) -> Result<(), Error>;

    /// Records it and lets it go: whoever begins next takes it up. Dropped half-way, or after `Unavailable`, it may have
    /// happened: the same again is `Fenced` then.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    async fn release(&self, run: &Run) -> Result<(), Error>;

    /// Records it as done. Dropped half-way, or after `Unavailable`, it may have happened: the same again is `Fenced` then.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    async fn finish(&self, run: &Run) -> Result<(), Error>;

    /// Gives up the unfinished run of this kind and index, whoever holds it, so that the next one begins anew. Says
    /// whether there was one. May be repeated. Dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn abandon(&self, kind: RunKind, index: &str) -> Result<bool, Error>;

    /// The last `limit` runs, of this index if one is named, the newest first.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn list(&self, index: Option<&str>, limit: usize) -> Result<Vec<PastRun>, Error>;
}
