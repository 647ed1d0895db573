//! Counters of a running relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the relay was made. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct RelayProgress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    parked: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Events the bus acknowledged. One that is published again counts again.
    pub published: u64,
    /// Events the bus would never take, parked as dead letters.
    pub parked: u64,
}

impl RelayProgress {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayCounts { published: read(&self.0.published), parked: read(&self.0.parked) }
    }

    pub(super) fn published(&self, events: u64) {
        self.0.published.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn parked(&self) {
        self.0.parked.fetch_add(1, Ordering::Relaxed);
    }
}
