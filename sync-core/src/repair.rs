//! Does the index agree with the database?

mod compare;

pub use compare::{Comparison, Difference, DifferenceKind, compare};
