//! Counters of a running relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the relay was made. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct RelayProgress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Events the bus acknowledged and the position has passed.
    pub published: u64,
}

impl RelayProgress {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        RelayCounts { published: self.0.published.load(Ordering::Relaxed) }
    }

    pub(super) fn published(&self, events: u64) {
        self.0.published.fetch_add(events, Ordering::Relaxed);
    }
}
