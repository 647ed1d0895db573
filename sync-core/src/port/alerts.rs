//! Telling people, and knowing of what they have not been told.

use std::fmt::{self, Debug};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::dead_letters::KeptLetter;
use crate::error::Error;

/// What people are told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alert {
    /// What could not be applied.
    Letters(LetterAlert),
    /// How the pipeline stands.
    Condition(ConditionAlert),
}

impl fmt::Display for Alert {
    /// One line for people, of a length that chats take.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letters(alert) => fmt::Display::fmt(alert, f),
            Self::Condition(alert) => fmt::Display::fmt(alert, f),
        }
    }
}

/// A condition of the pipeline that began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionAlert {
    /// Its name, as rules and runbook have it.
    pub name: &'static str,
    /// The index it is about; empty when it is about all.
    pub subject: String,
    /// How grave it is.
    pub severity: Severity,
    /// Whether it began or ended.
    pub state: ConditionState,
    /// When it began.
    pub since: Timestamp,
    /// What was seen last of it, in words.
    pub summary: String,
    /// Whether only this process sees it.
    pub is_local: bool,
}

/// How grave a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// To be mended now.
    Critical,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionState {
    /// It does, and people are to know.
    Firing,
    /// It does, not for long enough yet.
    Pending,
    /// It does no more.
    Resolved,
}

impl ConditionAlert {
    /// The same for all alerts about one thing, so that whoever gets them can tell repeats.
    #[must_use]
    pub fn key(&self) -> String {
        if self.subject.is_empty() { self.name.to_owned() } else { format!("{}/{}", self.name, self.subject) }
    }

    /// Where the project says what to do about it.
    #[must_use]
    pub fn runbook(&self) -> String {
        format!("docs/runbook.md#{}", self.name.to_lowercase())
    }
}

impl fmt::Display for ConditionAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            ConditionState::Resolved => write!(f, "resolved: {}: it was: {}", self.name, self.summary),
            ConditionState::Firing | ConditionState::Pending => write!(f, "{}: {}", self.name, self.summary),
        }
    }
}

/// Dead letters people are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterAlert {
    /// One letter, or several that came faster than people want to be told. Never none; their
    /// [values](super::DeadLetter::value) are left out.
    pub letters: Vec<KeptLetter>,
}

impl fmt::Display for LetterAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(KeptLetter { id, letter }) = self.letters.first() else { return f.write_str("no dead letter") };
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
    /// Tells it; returns once it was taken, within 30 seconds together with the other handlers: after that it is given up, as if dropped. Called by several at
    /// once, also in several processes. After an error, and dropped half-way, it is unknown whether it was taken, and it may be
    /// told again.
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
    /// [announced](Self::announced). Of several who ask at once, each gets others. A letter that is parked anew is a new one.
    /// Dropped half-way, or after an error, they may be claimed.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<KeptLetter>, Error>;

    /// People know of these letters. May be repeated; ids that are not there are passed over. Dropped half-way, or after an
    /// error, any of it may be noted; of the others people are told again.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn announced(&self, ids: &[i64]) -> Result<(), Error>;
}
