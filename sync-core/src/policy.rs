//! Decisions without doing: told everything, they read no clock and wait for nothing.

pub(crate) mod adaptive;
mod backoff;
pub(crate) mod breaker;
mod ramp;
pub(crate) mod rate;
#[cfg(feature = "postgres")]
pub(crate) mod replicas;
mod retries;
pub(crate) mod triage;

pub use self::backoff::Backoff;
pub use self::breaker::{BreakerConfig, BreakerState};
pub use self::retries::{RetryPolicy, dead_letter_topic, holds_failures_of, retry_delay, retry_topic};
