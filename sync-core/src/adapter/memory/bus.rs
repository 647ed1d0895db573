//! A bus in memory: topics with partitions, groups with committed offsets, members that share the partitions.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future;
use tokio::sync::Notify;

use crate::adapter::partition::partition_for;
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{
    Acknowledgement, Consumer, Incoming, OffsetCommit, Partition, PartitionLag, Polled, Publisher, Subscriber,
};

/// Messages of one partition given out by one poll: enough to see batches, few enough to see several.
const BATCH: usize = 100;

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

#[derive(Debug, Default)]
struct Group {
    members: Vec<u64>,
    /// How many members there have ever been.
    joined: u64,
    /// By partition number.
    owners: BTreeMap<i32, u64>,
    committed: BTreeMap<i32, i64>,
}

impl Group {
    /// The member that is to have a partition, once the one before has let it go.
    fn heir(&self, number: i32) -> Option<u64> {
        let turn = usize::try_from(number).unwrap_or_default().checked_rem(self.members.len())?;
        self.members.get(turn).copied()
    }

    /// What moves to or from a member at this moment.
    fn rebalance(&mut self, member: u64, partitions: i32) -> Option<Move> {
        let is_lost = |number: &i32, owner: u64| owner == member && self.heir(*number) != Some(member);
        let lost: Vec<i32> =
            self.owners.iter().filter(|(number, owner)| is_lost(number, **owner)).map(|(number, _)| *number).collect();
        if !lost.is_empty() {
            self.owners.retain(|number, _| !lost.contains(number));
            return Some(Move::Lost(lost));
        }
        let is_won = |number: &i32| !self.owners.contains_key(number) && self.heir(*number) == Some(member);
        let won: Vec<i32> = (0..partitions).filter(is_won).collect();
        if won.is_empty() {
            return None;
        }
        self.owners.extend(won.iter().map(|number| (*number, member)));
        Some(Move::Won(won))
    }
}

enum Move {
    Lost(Vec<i32>),
    Won(Vec<i32>),
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
            let headers = message.headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect();
            self.shared.append(&message.topic, number, Some(message.key.into()), Some(message.value.into()), headers);
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
        let member = {
            let mut state = self.shared.state();
            let joined = state.groups.entry(group.clone()).or_default();
            joined.joined += 1;
            joined.members.push(joined.joined);
            joined.joined
        };
        self.shared.changed.notify_waiters();
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(MemoryConsumer {
            shared,
            topic: self.topic.as_str().into(),
            group,
            member,
            owned: BTreeMap::new(),
        }))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        let state = self.shared.state();
        let group = state.groups.get(&(self.group.clone(), self.topic.clone()));
        let logs = state.logs.get(&self.topic);
        let lag = |number: i32| {
            let partition = Partition { topic: self.topic.as_str().into(), number };
            let committed = group.and_then(|group| group.committed.get(&number)).copied();
            let end = logs.and_then(|logs| logs.get(&number)).map_or(0, |log| offset(log.len()));
            PartitionLag { partition, committed, behind: u64::try_from(end - committed.unwrap_or(0)).unwrap_or(0) }
        };
        Ok((0..self.shared.partitions).map(lag).collect())
    }
}

/// Where a member is in one of its partitions.
#[derive(Debug, Default)]
struct Place {
    next: usize,
    paused: bool,
}

#[derive(Debug)]
struct MemoryConsumer {
    shared: Arc<Shared>,
    topic: Arc<str>,
    group: (String, String),
    member: u64,
    owned: BTreeMap<i32, Place>,
}

impl MemoryConsumer {
    /// What there is to tell now.
    fn look(&mut self) -> Option<Polled> {
        let mut state = self.shared.state();
        let State { logs, groups } = &mut *state;
        let group = groups.get_mut(&self.group)?;
        if let Some(moved) = group.rebalance(self.member, self.shared.partitions) {
            let topic = &self.topic;
            let named = |number: &i32| Partition { topic: Arc::clone(topic), number: *number };
            return Some(match moved {
                Move::Lost(lost) => {
                    self.owned.retain(|number, _| !lost.contains(number));
                    // The heirs have been waiting for this.
                    self.shared.changed.notify_waiters();
                    Polled::Revoked(lost.iter().map(named).collect())
                }
                Move::Won(won) => {
                    for number in &won {
                        let committed = group.committed.get(number).copied().unwrap_or(0);
                        let next = usize::try_from(committed).unwrap_or_default();
                        self.owned.insert(*number, Place { next, paused: false });
                    }
                    Polled::Assigned(won.iter().map(named).collect())
                }
            });
        }
        let logs = logs.get(&self.group.1)?;
        let mut messages = Vec::new();
        for (number, place) in self.owned.iter_mut().filter(|(_, place)| !place.paused) {
            let log = logs.get(number).map(Vec::as_slice).unwrap_or_default();
            let before = messages.len();
            messages.extend(log.iter().skip(place.next).take(BATCH).cloned());
            place.next += messages.len() - before;
        }
        (!messages.is_empty()).then_some(Polled::Messages(messages))
    }

    fn place(&mut self, partition: &Partition) -> Result<&mut Place, Error> {
        let place = if partition.topic == self.topic { self.owned.get_mut(&partition.number) } else { None };
        place.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{partition} is not this consumer's")))
    }

    fn leave(&self) {
        if let Some(group) = self.shared.state().groups.get_mut(&self.group) {
            group.members.retain(|member| *member != self.member);
            group.owners.retain(|_, owner| *owner != self.member);
        }
        self.shared.changed.notify_waiters();
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self) -> Result<Polled, Error> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut changed = pin!(shared.changed.notified());
            // Before looking, so that a change between the look and the wait is not missed.
            changed.as_mut().enable();
            if let Some(polled) = self.look() {
                return Ok(polled);
            }
            changed.await;
        }
    }

    fn pause(&mut self, partition: &Partition) -> Result<(), Error> {
        self.place(partition)?.paused = true;
        Ok(())
    }

    fn resume(&mut self, partition: &Partition) -> Result<(), Error> {
        self.place(partition)?.paused = false;
        Ok(())
    }

    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error> {
        for OffsetCommit { partition, .. } in done {
            if partition.topic != self.topic || !self.owned.contains_key(&partition.number) {
                return Err(Error::new(ErrorKind::Fenced, format!("{partition} is no longer this consumer's")));
            }
        }
        if let Some(group) = self.shared.state().groups.get_mut(&self.group) {
            for OffsetCommit { partition, next } in done {
                let committed = group.committed.entry(partition.number).or_insert(*next);
                *committed = (*committed).max(*next);
            }
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        self.leave();
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
