//! A bus in memory: topics with partitions, groups with committed offsets, members that share the partitions.

mod consumer;
mod group;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future;
use tokio::sync::Notify;

use self::consumer::MemoryConsumer;
use self::group::Group;
use crate::adapter::partition::partition_for;
use crate::error::Error;
use crate::event::{Header, Outgoing};
use crate::port::{Acknowledgement, Consumer, Incoming, Partition, PartitionLag, Publisher, Subscriber};

/// A bus in memory. Clones share it. A topic exists once it is named; everything written stays.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    partitions: i32,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By topic and partition number.
    logs: HashMap<String, BTreeMap<i32, Vec<Incoming>>>,
    /// By group and topic.
    groups: HashMap<(String, String), Group>,
}

impl MemoryBus {
    /// An empty bus whose topics have that many partitions, at least one.
    #[must_use]
    pub fn new(partitions: i32) -> Self {
        let shared = Shared { partitions: partitions.max(1), state: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// What members of `group` use to read `topic`.
    #[must_use]
    pub fn subscriber(&self, group: &str, topic: &str) -> MemorySubscriber {
        MemorySubscriber { shared: Arc::clone(&self.shared), group: group.to_owned(), topic: topic.to_owned() }
    }

    /// Writes what no [`Publisher`] would, into any partition: anyone may write to a topic.
    pub fn write(
        &self,
        topic: &str,
        number: i32,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<(String, Bytes)>,
    ) {
        self.shared.append(topic, number, key, value, headers);
        self.shared.changed.notify_waiters();
    }

    /// Everything that lies in a topic now, partition by partition, in order. Needs no group and moves none.
    #[must_use]
    pub fn messages(&self, topic: &str) -> Vec<Incoming> {
        self.shared.state().logs.get(topic).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below leaves the state half-changed, so what a panicking holder left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(
        &self,
        topic: &str,
        number: i32,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<(String, Bytes)>,
    ) {
        let mut state = self.state();
        let log = state.logs.entry(topic.to_owned()).or_default().entry(number).or_default();
        let partition = Partition { topic: topic.into(), number };
        log.push(Incoming { partition, offset: offset(log.len()), key, value, headers });
    }
}

fn offset(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

#[async_trait]
impl Publisher for MemoryBus {
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        for message in batch {
            let number = partition_for(message.key.as_bytes(), self.shared.partitions);
            let header = |(name, value): Header| (name.into_owned(), Bytes::from(value.into_owned()));
            let headers = message.headers.into_iter().map(header).collect();
            self.shared.append(
                &message.topic,
                number,
                Some(message.key.into()),
                message.value.map(Bytes::from),
                headers,
            );
        }
        self.shared.changed.notify_waiters();
        Ok(Box::pin(future::ready(Ok(()))))
    }
}

/// One group's way to one topic of a [`MemoryBus`].
#[derive(Clone, Debug)]
pub struct MemorySubscriber {
    shared: Arc<Shared>,
    group: String,
    topic: String,
}

#[async_trait]
impl Subscriber for MemorySubscriber {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        let group = (self.group.clone(), self.topic.clone());
        Ok(Box::new(MemoryConsumer::join(Arc::clone(&self.shared), group)))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        let state = self.shared.state();
        let group = state.groups.get(&(self.group.clone(), self.topic.clone()));
        let logs = state.logs.get(&self.topic);
        let lag = |number: i32| {
            let partition = Partition { topic: self.topic.as_str().into(), number };
            let committed = group.and_then(|group| group.committed.get(&number)).copied();
            let end = logs.and_then(|logs| logs.get(&number)).map_or(0, |log| offset(log.len()));
            let behind = u64::try_from(end - committed.unwrap_or(0)).unwrap_or(0);
            PartitionLag { partition, committed, behind, oldest: None }
        };
        Ok((0..self.shared.partitions).map(lag).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Polled;
    #[cfg(feature = "testkit")]
    use crate::testkit::conformance::bus::{Harness, Stranger, Traits, bus};

    #[cfg(feature = "testkit")]
    impl Stranger for MemoryBus {
        fn write(&self, value: Option<Bytes>, headers: Vec<(String, Bytes)>) -> future::BoxFuture<'_, ()> {
            Self::write(self, "topic", 0, None, value, headers);
            Box::pin(future::ready(()))
        }
    }

    #[cfg(feature = "testkit")]
    #[tokio::test]
    async fn the_memory_bus_keeps_every_promise_of_a_bus() {
        bus(async || {
            let bus = MemoryBus::new(4);
            Harness {
                topic: "topic".into(),
                partitions: 4,
                publisher: Arc::new(bus.clone()),
                subscriber: Arc::new(bus.subscriber("group", "topic")),
                traits: Traits { stores: true, shares: true },
                stranger: Some(Arc::new(bus)),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn two_groups_read_one_topic_each_for_itself() {
        let bus = MemoryBus::new(1);
        bus.write("topic", 0, None, Some("value".into()), vec![]);
        for group in ["one", "other"] {
            let mut consumer = bus.subscriber(group, "topic").subscribe().await.unwrap();
            assert!(matches!(consumer.poll().await.unwrap(), Polled::Assigned(_)));
            let Polled::Messages(messages) = consumer.poll().await.unwrap() else { panic!("no messages") };
            assert_eq!(messages.len(), 1);
        }
    }
}
