//! How every stage stands: asked side by side. A stage that cannot be asked is told with its error, beside the others.

mod stages;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use sync_core::alerts::Health;
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;

pub(crate) use self::stages::Stages;
use crate::config::show_duration;
use crate::exit::Exit;
use crate::outbox::{Installed, Retained, Subscription};

/// How long one stage may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A look at all stages, side by side, takes no longer.
pub(crate) const LONGEST_LOOK: Duration = Duration::from_secs(2 * PATIENCE.as_secs());

/// What a stage said, or why it said nothing.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer<T> {
    /// As it stands.
    Said(T),
    /// It could not be asked.
    Failed {
        /// Why.
        error: Refusal,
    },
}

/// Why a stage could not be asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Refusal {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// How a process ends that tells only this.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// How every stage stands.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What writes events for the changes of tables.
    pub(crate) watches: Answer<Vec<Installed>>,
    pub(crate) outbox: Answer<Outbox>,
    /// By index; empty where no broker stands between the roles.
    pub(crate) bus: BTreeMap<String, Answer<Queue>>,
    pub(crate) indexes: BTreeMap<String, Answer<Documents>>,
    /// By index; those that are made anew, or were and can be taken back.
    pub(crate) reindexes: Answer<BTreeMap<String, Reindex>>,
    pub(crate) retained: Answer<Leaves>,
    pub(crate) dead_letters: Answer<Letters>,
}

/// Outbox to relay.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outbox {
    pub(crate) subscription: String,
    /// Nothing before its relay ran for the first time.
    #[serde(flatten)]
    pub(crate) reading: Option<Reading>,
    /// The highest number an event was given.
    #[serde(skip)]
    pub(crate) last_event: Option<i64>,
}

/// How far a subscription has read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reading {
    /// Committed events that are not published; a million means at least that. Where the position follows the one in
    /// Kafka, some of them may be.
    pub(crate) events_behind: u64,
    /// Age of the oldest of them.
    pub(crate) seconds_behind: f64,
    #[serde(flatten)]
    pub(crate) place: Subscription,
}

/// Bus to indexer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Queue {
    pub(crate) topic: String,
    pub(crate) messages_behind: u64,
    /// Age of the oldest of them; `None` when it could not be found.
    pub(crate) seconds_behind: Option<f64>,
    /// Messages that failed and wait to be tried again.
    pub(crate) waiting_for_retry: u64,
    pub(crate) partitions: Vec<PartitionOf>,
}

/// One partition of a topic.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartitionOf {
    pub(crate) number: i32,
    pub(crate) committed: Option<i64>,
    pub(crate) messages_behind: u64,
}

/// An index.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Documents {
    pub(crate) alias: String,
    /// None while there is no index.
    pub(crate) documents: Option<u64>,
    /// What the health is that of: the cluster, or the index.
    #[serde(skip)]
    pub(crate) of: &'static str,
    /// Of the cluster, or of the directory.
    #[serde(serialize_with = "shown")]
    pub(crate) health: Health,
}

/// An index that takes the place of another one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reindex {
    pub(crate) phase: &'static str,
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) began_at: Timestamp,
    /// Why it did not go on when it last ended.
    pub(crate) problem: Option<String>,
}

/// The leaves of the outbox: what is kept, and what is made ready.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Leaves {
    #[serde(flatten)]
    pub(crate) retained: Retained,
    /// Days ahead for which there is one.
    pub(crate) days_ahead: i64,
}

/// What could not be applied, and waits for a person.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Letters {
    pub(crate) letters: u64,
    /// When the oldest was parked.
    pub(crate) oldest: Option<Timestamp>,
}

impl Report {
    /// Asks every stage.
    pub(crate) async fn ask(stages: &Stages<'_>) -> Self {
        let queues = stages.queues().map(async |(name, queue)| (name.clone(), in_time(queue.ask()).await));
        let documents = stages.indexes().map(async |(name, index)| (name.clone(), in_time(index.ask()).await));
        let (watches, outbox, queues, documents, health, reindexes, retained, dead_letters) = tokio::join!(
            in_time(stages.watches()),
            in_time(stages.outbox()),
            join_all(queues),
            join_all(documents),
            in_time(stages.health()),
            in_time(stages.reindexes()),
            in_time(stages.retained()),
            in_time(stages.letters())
        );
        let of_cluster = |(name, answer): (String, Answer<Documents>)| match answer {
            Answer::Said(documents) => {
                let health = health.said().copied().unwrap_or(Health::Silent);
                (name, Answer::Said(Documents { health, ..documents }))
            }
            Answer::Failed { error } => (name, Answer::Failed { error }),
        };
        Self {
            watches,
            outbox,
            bus: queues.into_iter().collect(),
            indexes: documents.into_iter().map(of_cluster).collect(),
            reindexes,
            retained,
            dead_letters,
        }
    }

    /// What could not be asked: the stage, and why. Of several queues or indexes each.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, &Refusal)> {
        let Self { watches, outbox, bus, indexes, reindexes, retained, dead_letters } = self;
        let one = [
            ("watches", watches.refusal()),
            ("outbox", outbox.refusal()),
            ("reindexes", reindexes.refusal()),
            ("retained", retained.refusal()),
            ("dead_letters", dead_letters.refusal()),
        ];
        let queues = bus.values().map(|queue| ("bus", queue.refusal()));
        let indexes = indexes.values().map(|index| ("index", index.refusal()));
        let all = one.into_iter().chain(queues).chain(indexes);
        all.filter_map(|(stage, refusal)| Some((stage, refusal?)))
    }
}

/// As the API has it: null where the cluster does not tell.
fn shown<S: Serializer>(health: &Health, serializer: S) -> Result<S::Ok, S::Error> {
    match health {
        Health::Untold => serializer.serialize_none(),
        Health::Green | Health::Yellow | Health::Red | Health::Silent => serializer.serialize_some(health.name()),
    }
}

/// What a stage says, if it does before long.
pub(crate) async fn in_time<T>(stage: impl Future<Output = Result<T, Error>>) -> Answer<T> {
    let answer = timeout(PATIENCE, stage).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, format!("no answer within {}", show_duration(PATIENCE))))
    });
    match answer {
        Ok(said) => Answer::Said(said),
        Err(error) => {
            let exit = Exit::of(error.kind());
            Answer::Failed { error: Refusal { kind: error.kind().name(), message: error.to_string(), exit } }
        }
    }
}

impl<T> Answer<T> {
    /// What it said, if it did.
    pub(crate) fn said(&self) -> Option<&T> {
        match self {
            Self::Said(said) => Some(said),
            Self::Failed { .. } => None,
        }
    }

    /// Why it said nothing, if it did not.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Said(_) => None,
            Self::Failed { error } => Some(error),
        }
    }
}
