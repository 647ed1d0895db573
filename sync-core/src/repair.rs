//! Does the index agree with the database, and what to do where it does not?

mod backfill;
mod compare;
mod difference;
mod mender;
mod pace;
mod reconcile;
mod recording;
mod refusals;
mod reindex;
mod replay;

pub use backfill::{Backfill, BackfillConfig, BackfillCounts, BackfillEnd, BackfillProgress};
pub use compare::{Comparison, compare};
pub use difference::{Difference, DifferenceKind};
pub use mender::RepairOf;
pub use reconcile::{Reconcile, ReconcileConfig, ReconcileCounts, ReconcileEnd, ReconcileProgress, ReconcileScope};
pub use refusals::Refusals;
pub use reindex::{
    Reindex, ReindexEnd, ReindexProgress, ReindexTools, abort_reindex, begin_reindex, finish_reindex, turn_reindex_back,
};
pub use replay::{Replayed, replay};
