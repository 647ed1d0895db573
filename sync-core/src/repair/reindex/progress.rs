//! How far a re-index is, for people to see.

use std::sync::{Arc, Mutex, PoisonError};

use crate::port::ReindexPhase;
use crate::repair::mender::Waiting;
use crate::repair::{BackfillProgress, ReconcileProgress};

/// How far a re-index is. Clones share it.
#[derive(Clone, Debug)]
pub struct ReindexProgress {
    phase: Arc<Mutex<ReindexPhase>>,
    pub(super) waiting: Waiting,
    /// While it is [filling](ReindexPhase::Filling).
    pub backfill: BackfillProgress,
    /// While it is [comparing](ReindexPhase::Comparing) or [returning](ReindexPhase::Returning).
    pub reconcile: ReconcileProgress,
}

impl ReindexProgress {
    pub(super) fn new(phase: ReindexPhase, backfill: BackfillProgress, reconcile: ReconcileProgress) -> Self {
        Self { phase: Arc::new(Mutex::new(phase)), waiting: Waiting::default(), backfill, reconcile }
    }

    /// The phase it is in.
    #[must_use]
    pub fn phase(&self) -> ReindexPhase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it waits for, if it does.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        let parts = || self.backfill.waiting_for().or_else(|| self.reconcile.waiting_for());
        self.waiting.what().or_else(parts)
    }

    pub(super) fn reach(&self, phase: ReindexPhase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}
