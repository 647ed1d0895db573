//! The world behind the ports. Each adapter is a folder; a client crate is named only in its own.

pub mod direct;
#[cfg(feature = "elasticsearch")]
pub mod elasticsearch;
#[cfg(feature = "kafka")]
pub mod kafka;
mod log_alerts;
pub mod memory;
mod partition;
#[cfg(feature = "postgres")]
pub mod postgres;
mod system_clock;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use log_alerts::LogAlerts;
pub use partition::partition_for;
pub use system_clock::SystemClock;
