//! One partition's messages on their way through.

use std::collections::VecDeque;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::batch::{self, Batch};
use super::settle::Settle;
use crate::port::{Incoming, Partition};

/// Two batches of one partition at a time: one is read from the database while the other is on its way to the index.
const IN_WORK: usize = 2;

/// A partition this indexer has.
#[derive(Debug)]
pub(super) struct Lane {
    /// Tells this assignment of the partition from an earlier one.
    pub(super) generation: u64,
    /// Polled, not begun.
    pub(super) buffer: VecDeque<Incoming>,
    /// Begun, not committed.
    pub(super) settle: Settle,
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
            paused: false,
            _abandon: abandoned.clone().drop_guard(),
            abandoned,
        }
    }

    /// The next batch to work on, if there is one and it may begin.
    pub(super) fn next_batch(&mut self, partition: &Partition, limit: usize) -> Option<Batch> {
        if self.settle.pending() >= IN_WORK {
            return None;
        }
        let batch = batch::take(partition, &mut self.buffer, limit)?;
        self.settle.begin(batch.next);
        Some(batch)
    }
}
