//! Does the index agree with the database, and what to do where it does not?

mod compare;
mod replay;

pub use compare::{Comparison, Difference, DifferenceKind, compare};
pub use replay::{Replayed, replay};
