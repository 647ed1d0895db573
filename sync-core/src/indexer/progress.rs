//! Counters of a running indexer, and which partitions stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metrics::{counter, gauge, histogram};

use crate::applier::Written;
use crate::error::{Error, ErrorKind};
use crate::port::Partition;
use crate::telemetry::metrics::{
    INDEXER_BATCH_KEYS, INDEXER_FAILURES, INDEXER_LATENCY_SECONDS, INDEXER_MESSAGES, INDEXER_SETTLED,
    INDEXER_STOPPED_PARTITIONS, seconds_since,
};

/// What becomes of a key.
const VERDICTS: [&str; 5] = ["applied", "deleted", "stale", "retried", "parked"];

/// Counts since the indexer was made. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct IndexerProgress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// What the metrics call it.
    index: String,
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
#[non_exhaustive]
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
#[non_exhaustive]
pub struct Stopped {
    /// What kind of thing a person has to mend.
    pub kind: ErrorKind,
    /// In words.
    pub error: String,
}

impl IndexerProgress {
    pub(super) fn of(index: &str) -> Self {
        let progress = Self(Arc::new(Counters { index: index.to_owned(), ..Counters::default() }));
        counter!(INDEXER_MESSAGES.name, "index" => progress.0.index.clone()).increment(0);
        for verdict in VERDICTS {
            counter!(INDEXER_SETTLED.name, "index" => progress.0.index.clone(), "verdict" => verdict).increment(0);
        }
        let kind = ErrorKind::Unavailable.name();
        counter!(INDEXER_FAILURES.name, "index" => progress.0.index.clone(), "kind" => kind).increment(0);
        gauge!(INDEXER_STOPPED_PARTITIONS.name, "index" => progress.0.index.clone()).increment(0.0);
        progress
    }

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

    /// A batch is done, of which the last message was written then.
    pub(super) fn messages(&self, count: u64, created_at: Option<Timestamp>) {
        self.0.messages.fetch_add(count, Ordering::Relaxed);
        counter!(INDEXER_MESSAGES.name, "index" => self.0.index.clone()).increment(count);
        if let Some(created_at) = created_at {
            histogram!(INDEXER_LATENCY_SECONDS.name, "index" => self.0.index.clone()).record(seconds_since(created_at));
        }
    }

    pub(super) fn begun(&self, keys: usize) {
        histogram!(INDEXER_BATCH_KEYS.name, "index" => self.0.index.clone()).record(keys as f64);
    }

    pub(super) fn written(&self, written: Written) {
        self.0.applied.fetch_add(written.applied, Ordering::Relaxed);
        self.0.deleted.fetch_add(written.deleted, Ordering::Relaxed);
        self.0.stale.fetch_add(written.stale, Ordering::Relaxed);
        let [applied, deleted, stale, ..] = VERDICTS;
        for (verdict, count) in [(applied, written.applied), (deleted, written.deleted), (stale, written.stale)] {
            self.settled(verdict, count);
        }
    }

    pub(super) fn retried(&self, count: u64) {
        self.0.retried.fetch_add(count, Ordering::Relaxed);
        self.settled("retried", count);
    }

    pub(super) fn parked(&self) {
        self.0.parked.fetch_add(1, Ordering::Relaxed);
        self.settled("parked", 1);
    }

    pub(super) fn stopped(&self, partition: &Partition, next: i64, error: &Error) {
        let stopped = Stopped { kind: error.kind(), error: error.to_string() };
        self.change(|all| drop(all.insert((partition.clone(), next), stopped)));
    }

    pub(super) fn going(&self, partition: &Partition, next: i64) {
        self.change(|all| drop(all.remove(&(partition.clone(), next))));
    }

    pub(super) fn handed_over(&self, partition: &Partition) {
        self.change(|all| all.retain(|(stopped, _), _| stopped != partition));
    }

    pub(super) fn failed(&self, error: &Error) {
        counter!(INDEXER_FAILURES.name, "index" => self.0.index.clone(), "kind" => error.kind().name()).increment(1);
    }

    fn settled(&self, verdict: &'static str, keys: u64) {
        if keys > 0 {
            counter!(INDEXER_SETTLED.name, "index" => self.0.index.clone(), "verdict" => verdict).increment(keys);
        }
    }

    /// Changes which batches stopped; several indexers of one index count together.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<(Partition, i64), Stopped>)) {
        let mut all = self.lock();
        let partitions = |all: &BTreeMap<(Partition, i64), Stopped>| {
            all.keys().map(|(partition, _)| partition).collect::<BTreeSet<_>>().len() as f64
        };
        let before = partitions(&all);
        change(&mut all);
        gauge!(INDEXER_STOPPED_PARTITIONS.name, "index" => self.0.index.clone()).increment(partitions(&all) - before);
    }

    /// What the metrics call it.
    pub(super) fn index(&self) -> &str {
        &self.0.index
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Partition, i64), Stopped>> {
        self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
