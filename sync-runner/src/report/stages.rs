//! What each stage is asked.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use jiff::Timestamp;
use sync_core::port::{DeadLetters, PartitionLag, ReindexOf, Reindexes, Reindexing, Selection, Source};
use sync_core::telemetry::metrics::seconds_since;
use sync_core::{Error, ErrorKind};

use super::{Documents, Letters, Outbox, PartitionOf, Queue, Reading, Reindex};
use crate::config::{Config, Index};
use crate::outbox;
use crate::wire::Wire;

pub(super) async fn outbox(config: &Config, wire: &Wire<'_>) -> Result<Outbox, Error> {
    let subscription = config.relay.subscription.clone();
    let last_event = outbox::last_event(wire.database()).await?;
    let reading = match outbox::subscription(wire.database(), &subscription).await? {
        Some(place) => {
            let lag = wire.source().lag().await?;
            Some(Reading { events_behind: lag.events, seconds_behind: lag.age.as_secs_f64(), place })
        }
        None => None,
    };
    Ok(Outbox { subscription, reading, last_event })
}

pub(super) async fn queue(wire: &Wire<'_>, name: &str, index: &Index) -> Result<Queue, Error> {
    let subscribers = wire.indexers(name, index)?.subscribers().await?;
    let lags = subscribers.iter().map(async |subscriber| subscriber.lag().await);
    let mut lags = try_join_all(lags).await?.into_iter();
    let own = lags.next().unwrap_or_default();
    let oldest: Option<Timestamp> = own.iter().filter_map(|lag| lag.oldest).min();
    let partition = |lag: PartitionLag| PartitionOf {
        number: lag.partition.number,
        committed: lag.committed,
        messages_behind: lag.behind,
    };
    let mut partitions: Vec<_> = own.into_iter().map(partition).collect();
    partitions.sort_by_key(|partition| partition.number);
    Ok(Queue {
        topic: index.topic.clone(),
        messages_behind: partitions.iter().map(|partition| partition.messages_behind).sum(),
        seconds_behind: oldest.map(seconds_since).unwrap_or_default(),
        waiting_for_retry: lags.flatten().map(|lag| lag.behind).sum(),
        partitions,
    })
}

pub(super) async fn letters(wire: &Wire<'_>) -> Result<Letters, Error> {
    let count = wire.dead_letters().count(&Selection::default()).await?;
    Ok(Letters { letters: count.letters, oldest: count.oldest })
}

pub(super) async fn reindexes(config: &Config, wire: &Wire<'_>) -> Result<BTreeMap<String, Reindex>, Error> {
    let (all, mut unfinished) = (wire.reindexes(), BTreeMap::new());
    for name in config.indexes.keys() {
        if let Some(Reindexing { about, phase, problem, began_at, .. }) = all.unfinished(name).await? {
            let ReindexOf { old, new, .. } = about;
            unfinished.insert(name.clone(), Reindex { phase: phase.name(), old, new, began_at, problem });
        }
    }
    Ok(unfinished)
}

pub(super) async fn documents(wire: &Wire<'_>, index: &Index) -> Result<Documents, Error> {
    let documents = wire.sink(index)?.documents().await?;
    let health = match wire.cluster().await {
        Ok(cluster) => Some(cluster.status),
        // An index may be counted by whom the cluster tells nothing of itself.
        Err(error) if error.kind() == ErrorKind::Denied => None,
        Err(error) => return Err(error),
    };
    Ok(Documents { alias: index.alias.clone(), documents, health })
}
