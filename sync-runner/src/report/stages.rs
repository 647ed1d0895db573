//! The stages, and what each is asked. Kept from one question to the next, with their connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use jiff::Timestamp;
use sync_core::adapter::elasticsearch::ClusterStatus;
use sync_core::alerts::Health;
use sync_core::port::{
    DeadLetters, LetterSelection, PartitionLag, ReindexOf, Reindexes, Reindexing, Source, Subscriber,
};
use sync_core::telemetry::metrics::seconds_since;
use sync_core::{Error, ErrorKind};
use tokio::sync::OnceCell;

use super::{Documents, Leaves, Letters, Outbox, PartitionOf, Queue, Reading, Reindex};
use crate::config::{Bus, Config, Sink};
use crate::outbox::{self, Installed};
use crate::wire::{IndexSink, IndexersOf, Wire};

/// Everything that can be asked how it stands.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    config: &'a Config,
    wire: &'a Wire<'a>,
    source: Arc<dyn Source>,
    queues: BTreeMap<String, QueueStage>,
    indexes: BTreeMap<String, IndexStage>,
}

/// What stands on the bus for one index.
#[derive(Debug)]
pub(super) struct QueueStage {
    indexers: IndexersOf,
    topic: String,
    /// Of its topic, and of those of its retries; found once.
    subscribers: OnceCell<Vec<Arc<dyn Subscriber>>>,
}

/// One index.
#[derive(Debug)]
pub(super) struct IndexStage {
    alias: String,
    sink: IndexSink,
}

impl<'a> Stages<'a> {
    /// Connects when they are asked.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn new(config: &'a Config, wire: &'a Wire<'a>) -> Result<Self, Error> {
        let (mut queues, mut indexes) = (BTreeMap::new(), BTreeMap::new());
        for (name, index) in &config.indexes {
            if config.relay.bus == Bus::Kafka {
                let (indexers, topic) = (wire.indexers(name, index)?, index.topic.clone());
                queues.insert(name.clone(), QueueStage { indexers, topic, subscribers: OnceCell::new() });
            }
            indexes.insert(name.clone(), IndexStage { alias: index.alias.clone(), sink: wire.sink(name, index)? });
        }
        Ok(Self { config, wire, source: Arc::new(wire.source()), queues, indexes })
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = (&String, &QueueStage)> {
        self.queues.iter()
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = (&String, &IndexStage)> {
        self.indexes.iter()
    }

    pub(super) async fn watches(&self) -> Result<Vec<Installed>, Error> {
        outbox::installed(self.wire.database()).await
    }

    pub(super) async fn outbox(&self) -> Result<Outbox, Error> {
        let subscription = self.config.relay.subscription.clone();
        let last_event = outbox::last_event(self.wire.database()).await?;
        let reading = match outbox::subscription(self.wire.database(), &subscription).await? {
            Some(place) => {
                let lag = self.source.lag().await?;
                Some(Reading { events_behind: lag.events, seconds_behind: lag.age.as_secs_f64(), place })
            }
            None => None,
        };
        Ok(Outbox { subscription, reading, last_event })
    }

    /// Of the cluster, or of the directory.
    pub(super) async fn health(&self) -> Result<Health, Error> {
        if self.config.indexer.sink == Sink::Local {
            return self.wire.local_indexes().await.map(|_| Health::Green);
        }
        match self.wire.cluster().await {
            Ok(cluster) => Ok(match cluster.status {
                ClusterStatus::Green => Health::Green,
                ClusterStatus::Yellow => Health::Yellow,
                ClusterStatus::Red => Health::Red,
                _ => Health::Untold,
            }),
            // It lets us in, and tells others.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(Health::Untold),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn reindexes(&self) -> Result<BTreeMap<String, Reindex>, Error> {
        let (all, mut unfinished) = (self.wire.reindexes(), BTreeMap::new());
        for name in self.config.indexes.keys() {
            if let Some(Reindexing { about, phase, problem, began_at, .. }) = all.unfinished(name).await? {
                let ReindexOf { old, new, .. } = about;
                unfinished.insert(name.clone(), Reindex { phase: phase.name(), old, new, began_at, problem });
            }
        }
        Ok(unfinished)
    }

    pub(super) async fn retained(&self) -> Result<Leaves, Error> {
        let database = self.wire.database();
        let retained = outbox::retained(database, self.config.relay.retention);
        let (retained, days_ahead) = tokio::try_join!(retained, outbox::leaves_ahead(database))?;
        Ok(Leaves { retained, days_ahead })
    }

    pub(super) async fn letters(&self) -> Result<Letters, Error> {
        let count = self.wire.dead_letters().count(&LetterSelection::default()).await?;
        Ok(Letters { letters: count.letters, oldest: count.oldest })
    }
}

impl QueueStage {
    pub(super) async fn ask(&self) -> Result<Queue, Error> {
        let subscribers = self.subscribers.get_or_try_init(|| self.indexers.subscribers()).await?;
        let lags = subscribers.iter().map(async |subscriber| subscriber.lag().await);
        let mut lags = try_join_all(lags).await?.into_iter();
        let own = lags.next().unwrap_or_default();
        let oldest: Option<Timestamp> = own.iter().filter_map(|lag| lag.oldest).min();
        let none_waits = own.iter().all(|lag| lag.behind == 0);
        let partition = |lag: PartitionLag| PartitionOf {
            number: lag.partition.number,
            committed: lag.committed,
            messages_behind: lag.behind,
        };
        let mut partitions: Vec<_> = own.into_iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.number);
        Ok(Queue {
            topic: self.topic.clone(),
            messages_behind: partitions.iter().map(|partition| partition.messages_behind).sum(),
            seconds_behind: oldest.map(seconds_since).or(none_waits.then_some(0.0)),
            waiting_for_retry: lags.flatten().map(|lag| lag.behind).sum(),
            partitions,
        })
    }
}

impl IndexStage {
    /// Without the health, which is the cluster's.
    pub(super) async fn ask(&self) -> Result<Documents, Error> {
        let of = match &self.sink {
            IndexSink::Elasticsearch(_) => "the cluster",
            IndexSink::Local(_) => "the index",
        };
        let documents = self.sink.documents().await?;
        Ok(Documents { alias: self.alias.clone(), documents, of, health: Health::Untold })
    }
}
