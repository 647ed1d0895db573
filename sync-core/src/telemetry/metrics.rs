//! Every metric there is, in one table. They go to the recorder the process has installed (crate `metrics`); without one
//! they cost next to nothing.

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct Metric {
    /// Its name. Prometheus has `_` for each dot.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Of what, by which label, in which unit.
    pub what: &'static str,
}

/// Searches that the database answered instead of the index.
pub const SEARCH_FALLBACK: Metric = Metric {
    name: "search.fallback.postgres",
    kind: MetricKind::Counter,
    what: "searches the database answered, by `index` and `reason`: open (the breaker), failed, late, unseen (a write)",
};

/// How long searches took.
pub const SEARCH_SECONDS: Metric = Metric {
    name: "search.seconds",
    kind: MetricKind::Histogram,
    what: "seconds a search took in all, by `index` and `source`",
};

/// Searches that failed.
pub const SEARCH_FAILED: Metric = Metric {
    name: "search.failed",
    kind: MetricKind::Counter,
    what: "searches without an answer, by `index` and `kind` of error",
};

/// Whether the index is asked.
pub const SEARCH_BREAKER_STATE: Metric = Metric {
    name: "search.breaker.state",
    kind: MetricKind::Gauge,
    what: "0 closed (the index is asked), 1 recovering (by a part of the searches, which grows), 2 half open (some try it), 3 open, by `index`",
};

/// How often that changed.
pub const SEARCH_BREAKER_TRANSITIONS: Metric = Metric {
    name: "search.breaker.transitions",
    kind: MetricKind::Counter,
    what: "changes of the breaker, by `index` and the state it came `to`",
};

/// Searches that were turned away.
pub const SEARCH_REJECTED: Metric = Metric {
    name: "search.rejected",
    kind: MetricKind::Counter,
    what: "searches that were turned away because too many were under way",
};

/// Sagas that ended.
pub const SAGA_ENDED: Metric = Metric {
    name: "saga.ended",
    kind: MetricKind::Counter,
    what: "sagas that ended, by `kind` and `outcome`: done, compensated",
};

/// Tries of steps, and of what undoes them, that failed.
pub const SAGA_FAILED_TRIES: Metric = Metric {
    name: "saga.failed_tries",
    kind: MetricKind::Counter,
    what: "tries of a step, or of what undoes it, that failed, by `kind` and `step`",
};

/// Steps that could not be undone.
pub const SAGA_LEFT: Metric = Metric {
    name: "saga.left",
    kind: MetricKind::Counter,
    what: "steps that could not be undone and were left for the cleanup, by `kind`",
};

/// What the cleanup removed.
pub const CLEANUP_REMOVED: Metric = Metric {
    name: "cleanup.removed",
    kind: MetricKind::Counter,
    what: "what nobody owned and was removed, by `kind` (container, host_name, placement) and `why` (gone, missing)",
};

/// What the cleanup could not remove.
pub const CLEANUP_FAILED: Metric = Metric {
    name: "cleanup.failed",
    kind: MetricKind::Counter,
    what: "removals that failed and are tried again, by `kind`",
};

/// All of them.
pub const ALL: [Metric; 11] = [
    SEARCH_FALLBACK,
    SEARCH_SECONDS,
    SEARCH_FAILED,
    SEARCH_BREAKER_STATE,
    SEARCH_BREAKER_TRANSITIONS,
    SEARCH_REJECTED,
    SAGA_ENDED,
    SAGA_FAILED_TRIES,
    SAGA_LEFT,
    CLEANUP_REMOVED,
    CLEANUP_FAILED,
];
