//! What the conditions are judged by: what was seen of the pipeline, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// What was seen of the pipeline; `None` is what could not be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// By index.
    pub indexes: BTreeMap<String, ObservedIndex>,
    /// Dead letters.
    pub dead_letters: Option<u64>,
    /// Watched and routed tables whose changes do not all write events.
    pub faulty_watches: Option<Vec<String>>,
}

/// How a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is there.
    Green,
    /// A copy of some shard is missing.
    Yellow,
    /// Some shard is missing.
    Red,
    /// It does not answer.
    Silent,
    /// It answers, and does not tell us.
    Untold,
}

impl Health {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
            Self::Silent => "not answering",
            Self::Untold => "not telling",
        }
    }
}

/// A moment, by a clock that people read and by one that never jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For people.
    pub at: Timestamp,
    /// Since some beginning; spans are measured by it.
    pub elapsed: Duration,
}

/// What was seen of one index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedIndex {
    /// Of the cluster.
    pub health: Option<Health>,
    /// Age of the oldest change that is not in it.
    pub sync_lag: Option<Duration>,
    /// Whether a place where changes may wait could not be asked, so that one may wait there for longer.
    pub sync_lag_may_be_longer: bool,
    /// Messages that are not indexed.
    pub consumer_lag: Option<u64>,
    /// Searches of this process in the last minute that the database answered.
    pub fallbacks_per_minute: Option<f64>,
}
