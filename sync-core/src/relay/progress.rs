//! Counters of a running relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use metrics::{counter, gauge, histogram};

use crate::error::{Error, ErrorKind};
use crate::telemetry::metrics::{
    RELAY_ACTIVE, RELAY_BATCH_EVENTS, RELAY_FAILURES, RELAY_LATENCY_SECONDS, RELAY_PARKED, RELAY_PUBLISHED,
    seconds_since,
};

/// Counts since the relay was made. Cheap to clone; all clones show the same.
#[derive(Clone, Debug)]
pub struct RelayProgress {
    /// What the metrics call it.
    subscription: String,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    parked: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayCounts {
    /// Events the bus acknowledged. One that is published again counts again.
    pub published: u64,
    /// Events the bus would never take, parked as dead letters.
    pub parked: u64,
}

impl RelayProgress {
    /// Of a relay that has not begun.
    pub(super) fn of(subscription: String) -> Self {
        let progress = Self { subscription, counters: Arc::default() };
        for metric in [RELAY_PUBLISHED, RELAY_PARKED] {
            counter!(metric.name, "subscription" => progress.subscription()).increment(0);
        }
        let kind = ErrorKind::Unavailable.name();
        counter!(RELAY_FAILURES.name, "subscription" => progress.subscription(), "kind" => kind).increment(0);
        gauge!(RELAY_ACTIVE.name, "subscription" => progress.subscription()).set(0.0);
        progress
    }

    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayCounts { published: read(&self.counters.published), parked: read(&self.counters.parked) }
    }

    /// So many events are on the bus, and that is recorded.
    pub(super) fn published(&self, events: u64) {
        self.counters.published.fetch_add(events, Ordering::Relaxed);
        counter!(RELAY_PUBLISHED.name, "subscription" => self.subscription()).increment(events);
    }

    /// The bus has acknowledged a batch, of which the last event was written then.
    pub(super) fn acknowledged(&self, events: u64, created_at: Option<Timestamp>) {
        if let Some(created_at) = created_at {
            histogram!(RELAY_BATCH_EVENTS.name, "subscription" => self.subscription()).record(events as f64);
            histogram!(RELAY_LATENCY_SECONDS.name, "subscription" => self.subscription())
                .record(seconds_since(created_at));
        }
    }

    pub(super) fn parked(&self) {
        self.counters.parked.fetch_add(1, Ordering::Relaxed);
        counter!(RELAY_PARKED.name, "subscription" => self.subscription()).increment(1);
    }

    pub(super) fn failed(&self, error: &Error) {
        let kind = error.kind().name();
        counter!(RELAY_FAILURES.name, "subscription" => self.subscription(), "kind" => kind).increment(1);
    }

    /// It holds the lease and publishes, until what this returns is dropped.
    pub(super) fn active(&self) -> Active {
        gauge!(RELAY_ACTIVE.name, "subscription" => self.subscription()).set(1.0);
        Active(self.clone())
    }

    /// Whose counts they are.
    pub(super) fn subscription(&self) -> String {
        self.subscription.clone()
    }
}

/// A relay that publishes.
#[derive(Debug)]
pub(super) struct Active(RelayProgress);

impl Drop for Active {
    fn drop(&mut self) {
        gauge!(RELAY_ACTIVE.name, "subscription" => self.0.subscription()).set(0.0);
    }
}
