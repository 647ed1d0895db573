//! Decisions without doing: told everything, they read no clock and wait for nothing.

pub mod backoff;
pub mod retries;
pub mod triage;
