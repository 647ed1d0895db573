//! Batches among which an event is that the bus will never take.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a relay remembers of them from one feed to the next.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// How many of the next batches are to be published event by event.
    batches: AtomicUsize,
    /// Events that were found and parked, by epoch and id; they are read again until a position is behind them.
    parked: Mutex<HashSet<(i32, i64)>>,
}

impl Suspects {
    /// The event is among the next `batches`.
    pub(super) fn suspect(&self, batches: usize) {
        self.batches.store(batches, Ordering::Relaxed);
    }

    /// Whether any batch is suspect.
    pub(super) fn any(&self) -> bool {
        self.batches.load(Ordering::Relaxed) > 0
    }

    /// Whether the batch that is now to be published is one.
    pub(super) fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.batches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// This event is safe among the dead letters. After lost commits its id may be another event's: hence the epoch.
    pub(super) fn note_parked(&self, epoch: i32, id: i64) {
        self.parked().insert((epoch, id));
    }

    /// Whether this event is safe among the dead letters.
    pub(super) fn is_parked(&self, epoch: i32, id: i64) -> bool {
        self.parked().contains(&(epoch, id))
    }

    /// A position is behind these parked ones: they are read no more.
    pub(super) fn forget_parked(&self, epoch: i32, ids: impl IntoIterator<Item = i64>) {
        let mut parked = self.parked();
        for id in ids {
            parked.remove(&(epoch, id));
        }
    }

    /// The epoch is over, and what was parked in it is read under the next one's number.
    pub(super) fn forget_epochs_before(&self, epoch: i32) {
        self.parked().retain(|(of, _)| *of >= epoch);
    }

    fn parked(&self) -> MutexGuard<'_, HashSet<(i32, i64)>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
