//! How every stage stands: asked side by side. A stage that cannot be asked is told with its error, beside the others.

mod stages;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;

use crate::config::{Bus, Config, show_duration};
use crate::exit::Exit;
use crate::outbox::{self, Retained, Subscription};
use crate::wire::Wire;

/// How long one stage may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a stage said, or why it said nothing.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Told<T> {
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
    pub(crate) outbox: Told<Outbox>,
    /// By index; empty where no broker stands between the roles.
    pub(crate) bus: BTreeMap<String, Told<Queue>>,
    pub(crate) indexes: BTreeMap<String, Told<Documents>>,
    /// By index; those that are made anew, or were and can be taken back.
    pub(crate) reindexes: Told<BTreeMap<String, Reindex>>,
    pub(crate) retained: Told<Retained>,
    pub(crate) dead_letters: Told<Letters>,
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
    /// Age of the oldest of them on the bus.
    pub(crate) seconds_behind: f64,
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
    /// Of the cluster: green, yellow or red; `None` where we may not ask.
    pub(crate) health: Option<String>,
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

/// What could not be applied, and waits for a person.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Letters {
    pub(crate) letters: u64,
    /// When the oldest was parked.
    pub(crate) oldest: Option<Timestamp>,
}

impl Report {
    /// Asks every stage.
    pub(crate) async fn ask(config: &Config, wire: &Wire<'_>) -> Self {
        let queues = config.indexes.iter().filter(|_| config.relay.bus == Bus::Kafka);
        let queues = queues.map(async |(name, index)| (name.clone(), in_time(stages::queue(wire, name, index)).await));
        let indexes = &config.indexes;
        let documents =
            indexes.iter().map(async |(name, index)| (name.clone(), in_time(stages::documents(wire, index)).await));
        let (outbox, queues, documents, reindexes, retained, dead_letters) = tokio::join!(
            in_time(stages::outbox(config, wire)),
            join_all(queues),
            join_all(documents),
            in_time(stages::reindexes(config, wire)),
            in_time(outbox::retained(wire.database(), config.relay.retention)),
            in_time(stages::letters(wire))
        );
        let (bus, indexes) = (queues.into_iter().collect(), documents.into_iter().collect());
        Self { outbox, bus, indexes, reindexes, retained, dead_letters }
    }
}

/// What a stage says, if it does before long.
pub(crate) async fn in_time<T>(stage: impl Future<Output = Result<T, Error>>) -> Told<T> {
    let answer = timeout(PATIENCE, stage).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, format!("no answer within {}", show_duration(PATIENCE))))
    });
    match answer {
        Ok(said) => Told::Said(said),
        Err(error) => {
            let exit = Exit::of(error.kind());
            Told::Failed { error: Refusal { kind: error.kind().name(), message: error.to_string(), exit } }
        }
    }
}

impl<T> Told<T> {
    /// What it said, if it did.
    pub(crate) fn said(&self) -> Option<&T> {
        match self {
            Self::Said(said) => Some(said),
            Self::Failed { .. } => None,
        }
    }
}
