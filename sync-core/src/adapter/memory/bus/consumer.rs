//! One member of a group.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::group::Move;
use super::{Shared, State};
use crate::error::{Error, ErrorKind};
use crate::port::{Consumer, OffsetCommit, Partition, Polled};

/// Messages of one partition given out by one poll: enough to see batches, few enough to see several.
const BATCH: usize = 100;

/// Where a member is in one of its partitions.
#[derive(Debug, Default)]
struct Place {
    next: usize,
    paused: bool,
}

#[derive(Debug)]
pub(super) struct MemoryConsumer {
    shared: Arc<Shared>,
    topic: Arc<str>,
    /// Group and topic.
    group: (String, String),
    member: u64,
    owned: BTreeMap<i32, Place>,
}

impl MemoryConsumer {
    pub(super) fn join(shared: Arc<Shared>, group: (String, String)) -> Self {
        let member = shared.state().groups.entry(group.clone()).or_default().join();
        shared.changed.notify_waiters();
        Self { shared, topic: group.1.as_str().into(), group, member, owned: BTreeMap::new() }
    }

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
            group.leave(self.member);
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

    fn is_over(&self) -> bool {
        false
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
