//! One topic: virtual partitions between one publisher and one consumer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::settlement::{Part, Settlement};
use crate::adapter::partition::partition_for;
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{Incoming, OffsetCommit, Partition, PartitionLag};

/// Messages given out by one poll: a few bulks' worth.
const BATCH: usize = 1_000;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) partitions: i32,
    capacity: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By partition number.
    lines: BTreeMap<i32, Line>,
    /// Messages handed over and not committed, of all partitions.
    held: usize,
    has_consumer: bool,
    /// Where the next poll begins, so that a full partition does not starve the others.
    turn: i32,
}

/// One partition. Its offsets grow for as long as the bus lives.
#[derive(Debug, Default)]
struct Line {
    /// Not given out yet.
    waiting: VecDeque<Incoming>,
    /// Not committed yet: the last offset of each part, and the part.
    open: VecDeque<(i64, Part)>,
    next: i64,
    /// Everything below is committed, or was dropped with an earlier consumer.
    done: i64,
    committed: Option<i64>,
}

impl Line {
    /// The first offset that was not given out.
    fn given(&self) -> i64 {
        self.waiting.front().map_or(self.next, |message| message.offset)
    }

    fn behind(&self) -> usize {
        usize::try_from(self.next - self.done).unwrap_or_default()
    }
}

impl Topic {
    pub(super) fn new(name: &str, capacity: usize, partitions: i32) -> Self {
        let partitions = partitions.max(1);
        let lines = (0..partitions).map(|number| (number, Line::default())).collect();
        let state = Mutex::new(State { lines, ..State::default() });
        Self { name: name.into(), partitions, capacity: capacity.max(1), state, changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below leaves the state half-changed, so what a panicking holder left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partition(&self, number: i32) -> Partition {
        Partition { topic: Arc::clone(&self.name), number }
    }

    /// Waits until `look` has something to say.
    pub(super) async fn when<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before looking, so that a change between the look and the wait is not missed.
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }

    /// Takes messages of this topic off the front of `batch`, as many as there is room for; waits until there is some.
    pub(super) async fn take_some(
        &self,
        batch: &mut Peekable<impl Iterator<Item = Outgoing>>,
        settlement: &Arc<Settlement>,
    ) -> Result<(), Error> {
        self.when(|| {
            // Part of this batch may have gone with a consumer while we waited: what follows must not overtake it.
            if let Err(error) = settlement.check() {
                return Some(Err(error));
            }
            let mut state = self.state();
            let mut taken = 0;
            while state.held < self.capacity
                && let Some(message) = batch.next_if(|message| *message.topic == *self.name)
            {
                self.append(&mut state, message, settlement);
                taken += 1;
            }
            (taken > 0).then_some(Ok(()))
        })
        .await?;
        self.changed.notify_waiters();
        Ok(())
    }

    fn append(&self, state: &mut State, message: Outgoing, settlement: &Arc<Settlement>) {
        let partition = self.partition(partition_for(message.key.as_bytes(), self.partitions));
        let line = state.lines.entry(partition.number).or_default();
        let offset = line.next;
        line.waiting.push_back(Incoming {
            partition,
            offset,
            key: Some(message.key.into()),
            value: message.value.map(Bytes::from),
            headers: message
                .headers
                .into_iter()
                .map(|(name, value)| (name.into_owned(), Bytes::from(value.into_owned())))
                .collect(),
        });
        match line.open.back_mut() {
            Some((last, part)) if part.is_of(settlement) => *last = offset,
            Some(_) | None => line.open.push_back((offset, settlement.part())),
        }
        line.next += 1;
        state.held += 1;
    }

    /// Lets one consumer in.
    pub(super) fn join(&self) -> Result<(), Error> {
        let mut state = self.state();
        if state.has_consumer {
            let what = format!("direct bus: topic {} has a consumer; it must close before the next one", self.name);
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        state.has_consumer = true;
        Ok(())
    }

    /// Lets the consumer go, with everything it has not committed.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        for line in state.lines.values_mut() {
            line.waiting.clear();
            line.open.clear();
            line.done = line.next;
        }
        state.held = 0;
        state.has_consumer = false;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Gives out what waits in partitions that are not paused; `None` when nothing does.
    pub(super) fn give(&self, paused: &BTreeSet<i32>) -> Option<Vec<Incoming>> {
        let mut state = self.state();
        let begin = state.turn;
        state.turn = (begin + 1) % self.partitions;
        let mut messages = Vec::new();
        for number in (begin..self.partitions).chain(0..begin).filter(|number| !paused.contains(number)) {
            if let Some(line) = state.lines.get_mut(&number) {
                let room = BATCH - messages.len();
                messages.extend(line.waiting.drain(..room.min(line.waiting.len())));
            }
        }
        (!messages.is_empty()).then_some(messages)
    }

    /// Records what is done.
    pub(super) fn commit(&self, done: &[OffsetCommit]) -> Result<(), Error> {
        if let Some(foreign) = done.iter().find(|done| !self.has(&done.partition)) {
            let what = format!("direct bus: {} is not this consumer's", foreign.partition);
            return Err(Error::new(ErrorKind::Fenced, what));
        }
        let mut state = self.state();
        let mut freed = 0;
        for OffsetCommit { partition, next } in done {
            let Some(line) = state.lines.get_mut(&partition.number) else { continue };
            // What was never given out cannot be done, whatever is said of it.
            let next = (*next).min(line.given());
            line.committed = line.committed.max(Some(next));
            let before = line.behind();
            line.done = line.done.max(next);
            freed += before - line.behind();
            let settled = line.open.partition_point(|(last, _)| *last < next);
            line.open.drain(..settled).for_each(|(_, part)| part.settle());
        }
        state.held -= freed;
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn has(&self, partition: &Partition) -> bool {
        partition.topic == self.name && (0..self.partitions).contains(&partition.number)
    }

    pub(super) fn lag(&self) -> Vec<PartitionLag> {
        let lag = |(number, line): (&i32, &Line)| PartitionLag {
            partition: self.partition(*number),
            committed: line.committed,
            behind: line.behind() as u64,
            oldest: None,
        };
        self.state().lines.iter().map(lag).collect()
    }
}
