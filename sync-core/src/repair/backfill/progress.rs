//! How far a backfill is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::page::Done;
use crate::error::Error;
use crate::port::Run;
use crate::repair::mender::Waiting;

/// Counters of a backfill. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct BackfillProgress {
    state: Arc<Mutex<State>>,
    pub(super) waiting: Waiting,
}

#[derive(Debug, Default)]
struct State {
    counts: BackfillCounts,
    resumed: Option<BackfillCounts>,
    expected: Option<u64>,
}

/// What was done so far, all of a run that was resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackfillCounts {
    /// Rows passed.
    pub rows: u64,
    /// Documents the index took.
    pub applied: u64,
    /// Of these rows, those whose document the index had already, in this version or a newer one.
    pub stale: u64,
    /// Keys parked as dead letters.
    pub parked: u64,
}

impl BackfillProgress {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> BackfillCounts {
        self.lock().counts
    }

    /// What the run had done when it was taken up; `None` of one that was begun.
    #[must_use]
    pub fn resumed(&self) -> Option<BackfillCounts> {
        self.lock().resumed
    }

    /// About how many rows there are; `None` before it is known. May be wrong by far.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        self.lock().expected
    }

    /// What it waits for, if it does.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        self.waiting.what()
    }

    pub(super) fn begin(&self, run: &Run, expected: Result<u64, Error>) {
        let mut state = self.lock();
        state.counts = BackfillCounts::from(&run.counts);
        state.resumed = run.after.is_some().then_some(state.counts);
        state.expected = expected.ok();
    }

    pub(super) fn add(&self, done: &Done) {
        let mut state = self.lock();
        state.counts.rows += done.rows;
        state.counts.applied += done.applied;
        state.counts.stale += done.stale;
        state.counts.parked += done.parked;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As a run records them.
impl From<BackfillCounts> for BTreeMap<String, u64> {
    fn from(counts: BackfillCounts) -> Self {
        let BackfillCounts { rows, applied, stale, parked } = counts;
        [("rows", rows), ("applied", applied), ("stale", stale), ("parked", parked)]
            .map(|(name, count)| (name.to_owned(), count))
            .into()
    }
}

impl From<&BTreeMap<String, u64>> for BackfillCounts {
    fn from(recorded: &BTreeMap<String, u64>) -> Self {
        let count = |name: &str| recorded.get(name).copied().unwrap_or_default();
        Self { rows: count("rows"), applied: count("applied"), stale: count("stale"), parked: count("parked") }
    }
}
