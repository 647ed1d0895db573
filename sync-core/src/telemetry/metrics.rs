//! Every metric there is, in one table. They go to the recorder the process has installed (crate `metrics`) before the rooms
//! are made; without one they cost next to nothing.
//!
//! Counters are there, at zero, from the beginning on, as far as it is known what will be counted: the first of something
//! would not be seen as one more otherwise.
//!
//! The rooms of this library record what they do: `relay.*`, `indexer.*`, `search.*` (but for `search.rejected`), `saga.ended`,
//! `saga.failed_tries`, `saga.left`, `cleanup.*` and `alert.firing`. How the pipeline stands is recorded by the program
//! `sync-runner` alone, which looks at all of it now and then: `reconciliation.*`, `outbox.*`, `bus.*`, `sync.*`, `index.*`,
//! `dead.letters.*`, `saga.unfinished`, `search.rejected`, `postgres.pool.*`, `monitor.*` and `runner.*`. A program of your own
//! that wants one of these records it itself.

use jiff::Timestamp;

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Grows.
    Counter,
    /// Is as it is now.
    Gauge,
    /// Many values, of which it is told how they are distributed.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Of what, by which label, in which unit.
    pub what: &'static str,
}

impl Metric {
    /// Its name as Prometheus has it.
    #[must_use]
    pub fn exported(&self) -> String {
        let suffix = if self.kind == MetricKind::Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name.replace('.', "_"))
    }
}

/// How long ago that was; nothing when another clock is ahead of this one.
#[must_use]
pub fn seconds_since(then: Timestamp) -> f64 {
    Timestamp::now().duration_since(then).as_secs_f64().max(0.0)
}

/// The table: a constant for each, and all of them.
macro_rules! table {
    ($($constant:ident: $kind:ident $name:literal = $what:literal;)*) => {
        $(
            #[doc = $what]
            pub const $constant: Metric = Metric { name: $name, kind: MetricKind::$kind, what: $what };
        )*

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

table! {
    RELAY_PUBLISHED: Counter "relay.published" = "events the bus acknowledged, by `subscription`";
    RELAY_PARKED: Counter "relay.parked" = "events the bus would never take, parked as dead letters, by `subscription`";
    RELAY_FAILURES: Counter "relay.failures" = "failures after which the relay tries again, by `subscription` and `kind` of error";
    RELAY_ACTIVE: Gauge "relay.active" = "1 while this process holds the lease and publishes, by `subscription`";
    RELAY_BATCH_EVENTS: Histogram "relay.batch.events" = "events of a batch, by `subscription`";
    RELAY_LATENCY_SECONDS: Histogram "relay.latency.seconds" = "seconds from the writing of an event until the bus has acknowledged it, of the last event of each batch, by `subscription`";

    INDEXER_MESSAGES: Counter "indexer.messages" = "messages whose keys are done, by `index`";
    INDEXER_SETTLED: Counter "indexer.settled" = "what became of keys, by `index` and `verdict`: applied, deleted, stale, retried (tried again later), parked (a dead letter)";
    INDEXER_FAILURES: Counter "indexer.failures" = "tries of a batch after which it is tried again: a system is away, full or closed, or the index refuses everything; by `index` and `kind` of error";
    INDEXER_STOPPED_PARTITIONS: Gauge "indexer.stopped.partitions" = "partitions that wait for a person, by `index`";
    INDEXER_BATCH_KEYS: Histogram "indexer.batch.keys" = "keys of a batch, by `index`";
    INDEXER_LATENCY_SECONDS: Histogram "indexer.latency.seconds" = "seconds from the writing of an event until it is in the index, of the last message of each poll, by `index`";

    RECONCILIATION_FIXED: Gauge "reconciliation.fixed" = "documents the last reconciliation put right, by `index`";
    RECONCILIATION_DIFFERENCES: Gauge "reconciliation.differences" = "what the last reconciliation found, by `index` and `kind`: missing, stale, orphan, ahead, drifted";
    RECONCILIATION_ENDED: Gauge "reconciliation.ended.timestamp.seconds" = "when the last reconciliation ended, in seconds since 1970, by `index`";

    OUTBOX_LAG_EVENTS: Gauge "outbox.lag.events" = "committed events that are not published (a million stands for more), by `subscription`";
    OUTBOX_LAG_SECONDS: Gauge "outbox.lag.seconds" = "age of the oldest of them, by `subscription`";
    OUTBOX_LEASE_HELD: Gauge "outbox.lease.held" = "1 when some relay holds the lease, by `subscription`";
    OUTBOX_RETAINED_BYTES: Gauge "outbox.retained.bytes" = "bytes the outbox keeps";
    OUTBOX_RETAINED_DAYS: Gauge "outbox.retained.days" = "days they are of";
    OUTBOX_LEAVES_AHEAD: Gauge "outbox.leaves.ahead" = "days ahead for which the outbox has a partition";
    OUTBOX_WATCHES_FAULTY: Gauge "outbox.watches.faulty" = "watched and routed tables whose changes are not all seen, or whose watch has to be made again";
    BUS_LAG_MESSAGES: Gauge "bus.lag.messages" = "consumer lag: messages that are not indexed, by `index`";
    BUS_LAG_SECONDS: Gauge "bus.lag.seconds" = "age of the oldest of them, as far as it could be found, by `index`";
    BUS_RETRY_MESSAGES: Gauge "bus.retry.messages" = "messages that failed and wait to be tried again, by `index`";
    SYNC_LAG_SECONDS: Gauge "sync.lag.seconds" = "age of the oldest change that is not in the index, wherever it waits, by `index`";
    INDEX_DOCUMENTS: Gauge "index.documents" = "documents in the index, by `index`";
    INDEX_ROWS: Gauge "index.rows" = "rows of the projection, which should be documents, by `index`";
    INDEX_HEALTH: Gauge "index.health" = "0 green, 1 yellow, 2 red, of the cluster, by `index`";
    DEAD_LETTERS_COUNT: Gauge "dead.letters.count" = "dead letters that wait for a person";
    DEAD_LETTERS_OLDEST_SECONDS: Gauge "dead.letters.oldest.seconds" = "age of the oldest";
    SAGA_UNFINISHED: Gauge "saga.unfinished" = "sagas under way, by `kind`";

    SEARCH_FALLBACK: Counter "search.fallback.postgres" = "searches the database answered, by `index` and `reason`: open (the breaker), failed, late, unseen (a write)";
    SEARCH_SECONDS: Histogram "search.seconds" = "seconds a search took in all, by `index` and `source`";
    SEARCH_FAILED: Counter "search.failed" = "searches without an answer, by `index` and `kind` of error";
    SEARCH_BREAKER_STATE: Gauge "search.breaker.state" = "0 closed (the index is asked), 1 recovering (by a part of the searches, which grows), 2 half open (some try it), 3 open, by `index`";
    SEARCH_BREAKER_TRANSITIONS: Counter "search.breaker.transitions" = "changes of the breaker, by `index` and the state it came `to`";
    SEARCH_REJECTED: Counter "search.rejected" = "searches that were turned away because too many were under way";

    SAGA_ENDED: Counter "saga.ended" = "sagas that ended, by `kind` and `outcome`: done, compensated";
    SAGA_FAILED_TRIES: Counter "saga.failed_tries" = "tries of a step, or of what undoes it, that failed, by `kind` and `step`";
    SAGA_LEFT: Counter "saga.left" = "steps that could not be undone and were left for the cleanup, by `kind`";
    CLEANUP_REMOVED: Counter "cleanup.removed" = "what nobody owned and was removed, by `kind` (`container`, `host_name`, `placement`) and `why` (gone, missing)";
    CLEANUP_FAILED: Counter "cleanup.failed" = "removals that failed and are tried again, by `kind`";

    POSTGRES_POOL_CONNECTIONS: Gauge "postgres.pool.connections" = "connections of this process";
    POSTGRES_POOL_IDLE: Gauge "postgres.pool.idle" = "those of them that nobody uses";
    POSTGRES_POOL_WAITING: Gauge "postgres.pool.waiting" = "how many wait for one";
    MONITOR_FAILED: Counter "monitor.failed" = "looks at a stage that failed, by `part`";
    ALERT_FIRING: Gauge "alert.firing" = "1 while an alert of this process fires, by `alert`";
    RUNNER_INFO: Gauge "runner.info" = "always 1, by `version` and `roles`";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_metrics_have_one_name_and_units_are_told_by_it() {
        let names: BTreeSet<_> = ALL.iter().map(Metric::exported).collect();
        assert_eq!(names.len(), ALL.len());
        let published = names.contains("relay_published_total") && names.contains("search_fallback_postgres_total");
        assert!(published && names.contains("outbox_lag_seconds"), "{names:?}");
    }
}
