//! One partition's messages on their way through.

use std::collections::VecDeque;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::batch::{self, Batch};
use super::message::Message;
use super::settle::Settle;
use crate::port::Partition;

/// Two batches of one partition at a time: one is read from the database while the other is on its way to the index.
const APPLYING: usize = 2;

/// Batches begun and not settled: those of which a part waits to be tried again do not hold up the others, but there
/// is an end to it.
const OPEN: usize = 64;

/// A message that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Message,
    /// Not before then.
    pub(super) due: Instant,
}

/// A partition this indexer has.
#[derive(Debug)]
pub(super) struct Lane {
    /// Tells this assignment of the partition from an earlier one.
    pub(super) generation: u64,
    /// Polled, not begun.
    pub(super) buffer: VecDeque<Waiting>,
    /// Begun, not committed.
    pub(super) settle: Settle,
    /// Batches on their way to the index.
    pub(super) applying: usize,
    /// Whether the consumer was told to hold back.
    pub(super) paused: bool,
    /// Cancelled when the partition is somebody else's.
    pub(super) abandoned: CancellationToken,
    _abandon: DropGuard,
}

impl Lane {
    pub(super) fn new(generation: u64) -> Self {
        let abandoned = CancellationToken::new();
        Self {
            generation,
            buffer: VecDeque::new(),
            settle: Settle::default(),
            applying: 0,
            paused: false,
            _abandon: abandoned.clone().drop_guard(),
            abandoned,
        }
    }

    fn may_begin(&self) -> bool {
        self.applying < APPLYING && self.settle.pending() < OPEN
    }

    /// The next batch to work on, if there is one and it may begin.
    pub(super) fn next_batch(&mut self, partition: &Partition, limit: usize, now: Instant) -> Option<Batch> {
        if !self.may_begin() {
            return None;
        }
        let due = self.buffer.iter().take(limit).take_while(|waiting| waiting.due <= now).count();
        let batch = batch::gather(partition, self.buffer.drain(..due).map(|waiting| waiting.message))?;
        self.settle.begin(batch.next);
        self.applying += 1;
        Some(batch)
    }

    /// When the next batch can begin without anything else happening.
    pub(super) fn due(&self) -> Option<Instant> {
        self.buffer.front().filter(|_| self.may_begin()).map(|waiting| waiting.due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::indexer::message::Followed;
    use crate::port::Incoming;

    #[test]
    fn what_is_not_due_waits_and_so_does_what_is_behind_it() {
        let partition = Partition { topic: "jobs".into(), number: 0 };
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut lane = Lane::new(1);
        for (offset, due) in [(0, now), (1, now), (2, later), (3, now)] {
            let key = Some("k".into());
            let message = Incoming { partition: partition.clone(), offset, key, value: None, headers: Vec::new() };
            let message = Message::read(
                &message,
                Followed { reader: "jobs", topic: "jobs" },
                Timestamp::UNIX_EPOCH,
                Duration::ZERO,
            );
            lane.buffer.push_back(Waiting { message, due });
        }
        let mut next = |limit, now| lane.next_batch(&partition, limit, now).map(|batch| batch.next);
        assert_eq!(next(1, now), Some(1), "no more than the limit");
        assert_eq!((next(10, now), next(10, now)), (Some(2), None));
        assert_eq!(lane.due(), None, "two batches are on their way, a third one has to wait for them");
        lane.applying = 0;
        assert_eq!(lane.due(), Some(later));
        assert_eq!(lane.next_batch(&partition, 10, later).map(|batch| batch.next), Some(4));
    }
}
