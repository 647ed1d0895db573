//! The benchmarks, one a file: what is prepared, whose turns they are, what is wanted.

pub(crate) mod backfill;
pub(crate) mod growth;
pub(crate) mod index;
pub(crate) mod latency;
pub(crate) mod live;
pub(crate) mod pinned;
pub(crate) mod reconcile;
pub(crate) mod relay;
pub(crate) mod search;
pub(crate) mod writer;

use std::time::Duration;

/// How long anything may take before a benchmark gives up.
const BOUND: Duration = Duration::from_secs(900);
