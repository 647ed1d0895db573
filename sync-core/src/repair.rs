//! Does the index agree with the database, and what to do where it does not?

mod backfill;
mod compare;
mod mender;
mod pace;
mod replay;

pub use backfill::{Backfill, BackfillConfig, BackfillCounts, BackfillEnd, BackfillProgress};
pub use compare::{Comparison, Difference, DifferenceKind, compare};
pub use mender::RepairOf;
pub use replay::{Replayed, replay};
