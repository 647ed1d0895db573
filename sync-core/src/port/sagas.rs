//! Sagas as they are kept: what each has done, in whose hands it is, and how it ended.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;

/// A saga to be begun.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaOrder {
    /// Which steps it has, by the name the workers know them by; 1 to 249 bytes.
    pub kind: String,
    /// What it is about; 1 to 512 bytes. A saga of one kind is run once for a subject.
    pub subject: String,
    /// What its steps are told.
    pub params: Value,
    /// After that it is taken back, unless it is done.
    pub time_allowed: Duration,
}

/// A saga that was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Saga {
    /// Its number.
    pub id: i64,
    /// Which steps it has.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What its steps are told.
    pub params: Value,
    /// Why somebody wants it taken back.
    pub cancelled: Option<String>,
    /// What it has done, in order.
    pub log: Vec<SagaEvent>,
}

/// What happened to a saga, as its log says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SagaEvent {
    /// A step is about to be tried.
    Acting {
        /// The step.
        step: String,
        /// Which try, from 1.
        attempt: u32,
    },
    /// A step is done.
    Done {
        /// The step.
        step: String,
        /// What it gave.
        #[serde(rename = "detail")]
        output: Value,
    },
    /// A try did not succeed; what it has done is not known.
    Failed {
        /// The step.
        step: String,
        /// Which try.
        attempt: u32,
        /// Why.
        #[serde(rename = "detail")]
        failure: SagaFailure,
    },
    /// It will not be done: from here on its steps are undone.
    Compensating {
        /// Why.
        #[serde(rename = "detail")]
        why: String,
    },
    /// A step is about to be undone.
    Undoing {
        /// The step.
        step: String,
        /// Which try, from 1.
        attempt: u32,
    },
    /// A step is undone, or there was nothing to undo.
    Undone {
        /// The step.
        step: String,
    },
    /// A try to undo a step did not succeed.
    UndoFailed {
        /// The step.
        step: String,
        /// Which try.
        attempt: u32,
        /// Why.
        #[serde(rename = "detail")]
        failure: SagaFailure,
    },
    /// A step could not be undone; somebody else has to clean up behind it.
    Left {
        /// The step.
        step: String,
        /// Why.
        #[serde(rename = "detail")]
        why: String,
    },
    /// There is nothing more to do, and its end was not taken. Noted once for each reason.
    EndFailed {
        /// Why.
        #[serde(rename = "detail")]
        why: String,
    },
}

/// Why a try did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaFailure {
    /// In words.
    pub error: String,
    /// Whether it is one of the tries a step has. What is only away for a while uses none up.
    pub counts: bool,
}

/// How a saga ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SagaOutcome {
    /// All of it is done.
    Done,
    /// All of it was taken back, or is noted as left.
    Compensated,
}

impl SagaOutcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Compensated => "compensated",
        }
    }
}

/// What there is to say about a saga that ends.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaEnding {
    /// How.
    pub outcome: SagaOutcome,
    /// Why it was taken back.
    pub error: Option<String>,
    /// What its steps gave, by step.
    pub outputs: BTreeMap<String, Value>,
    /// Why steps could not be undone, by step.
    pub left: BTreeMap<String, String>,
}

/// A saga in this process' hands.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldSaga {
    /// The saga.
    pub saga: Saga,
    /// Grows with each take-over.
    pub term: i64,
    /// How much time it has until it is to be taken back.
    pub left: Duration,
}

impl HeldSaga {
    /// What its holder names with everything it says of it.
    #[must_use]
    pub const fn claim(&self) -> SagaClaim {
        SagaClaim { id: self.saga.id, term: self.term }
    }
}

/// Which saga, and since which take-over it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SagaClaim {
    /// The saga.
    pub id: i64,
    /// The take-over.
    pub term: i64,
}

/// A saga as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastSaga {
    /// The saga.
    pub saga: Saga,
    /// How it ended; `None` while it has not.
    pub outcome: Option<SagaOutcome>,
    /// Who works on it.
    pub holder: Option<String>,
    /// When it was begun.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Lets people and programs have sagas done.
#[async_trait]
pub trait Sagas: Debug + Send + Sync + 'static {
    /// Begins a saga and says its number. May be repeated with the same params; dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Contract` when it was begun already with other params, or is none that can be begun; `Unavailable`, `Denied`,
    /// `Configuration`.
    async fn begin(&self, order: &SagaOrder) -> Result<i64, Error>;

    /// Has a saga that is not over taken back; says whether there is one. It may be done all the same, when it was about
    /// to be. May be repeated; the first reason stays. Dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn cancel(&self, kind: &str, subject: &str, why: &str) -> Result<bool, Error>;

    /// Has a saga whose steps are undone, and whose end is refused, as its last event [says](SagaEvent::EndFailed), ended
    /// without what its kind wants done then, by whoever claims it next; says whether there is one. May be repeated; dropped
    /// half-way, it may have happened.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn end_untold(&self, kind: &str, subject: &str) -> Result<bool, Error>;

    /// The sagas about this subject, or about any; the newest first, and no more than `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn list(&self, subject: Option<&str>, limit: usize) -> Result<Vec<PastSaga>, Error>;

    /// Forgets sagas of these kinds that ended so long ago; says how many. Not necessarily all at once: zero when none is
    /// left. May be repeated. Dropped half-way, some may be forgotten.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn purge(&self, kinds: &[&str], keep: Duration) -> Result<u64, Error>;
}

/// Gives sagas into the hands of those who work on them, and keeps what they did.
///
/// Called for several sagas at once. Of one saga, `renew` is called beside the others; each of those may be dropped when the
/// saga is given up, and `release` comes last.
#[async_trait]
pub trait SagaLog: Debug + Send + Sync + 'static {
    /// Takes up a saga of one of these kinds, about `subject` if one is named, that is not over and that nobody holds: the
    /// one that has waited longest. Of several about one subject the one that was begun first comes first. It is this
    /// holder's for as long as [`lease`](Self::lease). Dropped half-way, one may have been taken.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn claim(&self, kinds: &[&str], subject: Option<&str>) -> Result<Option<HeldSaga>, Error>;

    /// How long a saga stays with a holder who says nothing.
    fn lease(&self) -> Duration;

    /// Keeps it this holder's; says why it is to be taken back, if somebody wants that. May be repeated. Dropped half-way, or
    /// after `Unavailable`, it may have been kept.
    ///
    /// # Errors
    /// `Fenced` when it is over or somebody else's; `Unavailable`, `Denied`, `Configuration`.
    async fn renew(&self, claim: SagaClaim) -> Result<Option<String>, Error>;

    /// Adds these to its log for good, all or none; a NUL in a text may become another character. After an error, and dropped
    /// half-way, it is unknown whether they were. To be repeated only by whoever [claims](Self::claim) it again and reads its
    /// log.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew).
    async fn record(&self, claim: SagaClaim, events: &[SagaEvent]) -> Result<(), Error>;

    /// Ends it, and in the same transaction does what its kind wants done then. After an error, and dropped half-way, it is
    /// unknown whether it ended; when it was refused, it did not. May be repeated by the same claim; when an earlier try did
    /// end it, that is `Fenced`.
    ///
    /// # Errors
    /// `Contract`, `Refused` and whatever else the store says of what its kind wants done; as for [`renew`](Self::renew). What
    /// [waiting](crate::Remedy::Retry) does not mend has a saga taken back that is done, so what is wrong with the store itself
    /// is better told as `Unavailable`.
    async fn end(&self, claim: SagaClaim, ending: &SagaEnding) -> Result<(), Error>;

    /// Lets it go; nobody takes it up before `pause` is over, which is no longer than the lease. Dropped half-way, or after
    /// `Unavailable`, it may have happened: the same again is `Fenced` then. Otherwise its lease runs out by itself.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew).
    async fn release(&self, claim: SagaClaim, pause: Duration) -> Result<(), Error>;
}
