//! Decisions without doing: told everything, they read no clock and wait for nothing.

pub mod adaptive;
pub mod backoff;
pub mod breaker;
mod ramp;
pub mod rate;
pub mod replicas;
pub mod retries;
pub mod triage;
