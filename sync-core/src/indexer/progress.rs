//! Counters of a running indexer, and which partitions stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::applier::Written;
use crate::error::{Error, ErrorKind};
use crate::port::Partition;

/// Counts since the indexer was made. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct IndexerProgress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    messages: AtomicU64,
    applied: AtomicU64,
    deleted: AtomicU64,
    stale: AtomicU64,
    retried: AtomicU64,
    parked: AtomicU64,
    /// By partition and the offset behind the batch that stopped: two batches of one partition may stop.
    stopped: Mutex<BTreeMap<(Partition, i64), Stopped>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexerCounts {
    /// Messages whose keys are done.
    pub messages: u64,
    /// Documents the index took.
    pub applied: u64,
    /// Deletes the index took.
    pub deleted: u64,
    /// Writes that were not newer than what the index had.
    pub stale: u64,
    /// Messages put aside to be tried again later.
    pub retried: u64,
    /// Messages parked as dead letters.
    pub parked: u64,
}

/// Why a partition does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What kind of thing a person has to mend.
    pub kind: ErrorKind,
    /// In words.
    pub error: String,
}

impl IndexerProgress {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> IndexerCounts {
        IndexerCounts {
            messages: self.0.messages.load(Ordering::Relaxed),
            applied: self.0.applied.load(Ordering::Relaxed),
            deleted: self.0.deleted.load(Ordering::Relaxed),
            stale: self.0.stale.load(Ordering::Relaxed),
            retried: self.0.retried.load(Ordering::Relaxed),
            parked: self.0.parked.load(Ordering::Relaxed),
        }
    }

    /// The partitions that wait for a person, each with what stopped it first.
    #[must_use]
    pub fn partitions_stopped(&self) -> BTreeMap<Partition, Stopped> {
        let stopped = self.lock();
        // In reverse, so that of one partition the first batch is what stays.
        stopped.iter().rev().map(|((partition, _), why)| (partition.clone(), why.clone())).collect()
    }

    pub(super) fn messages(&self, count: u64) {
        self.0.messages.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn written(&self, written: Written) {
        self.0.applied.fetch_add(written.applied, Ordering::Relaxed);
        self.0.deleted.fetch_add(written.deleted, Ordering::Relaxed);
        self.0.stale.fetch_add(written.stale, Ordering::Relaxed);
    }

    pub(super) fn retried(&self, count: u64) {
        self.0.retried.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn parked(&self) {
        self.0.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self, partition: &Partition, next: i64, error: &Error) {
        let stopped = Stopped { kind: error.kind(), error: error.to_string() };
        self.lock().insert((partition.clone(), next), stopped);
    }

    pub(super) fn going(&self, partition: &Partition, next: i64) {
        self.lock().remove(&(partition.clone(), next));
    }

    pub(super) fn handed_over(&self, partition: &Partition) {
        self.lock().retain(|(stopped, _), _| stopped != partition);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Partition, i64), Stopped>> {
        self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
