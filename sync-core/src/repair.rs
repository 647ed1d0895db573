//! Does the index agree with the database, and what to do where it does not?

mod backfill;
mod compare;
mod replay;

pub use backfill::{Backfill, BackfillConfig, BackfillCounts, BackfillEnd, BackfillOf, BackfillProgress};
pub use compare::{Comparison, Difference, DifferenceKind, compare};
pub use replay::{Replayed, replay};
