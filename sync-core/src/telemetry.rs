//! What the rooms tell of themselves.

pub mod metrics;
pub mod trace;
