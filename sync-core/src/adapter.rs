//! The world behind the ports. Each adapter is a folder; a client crate is named only in its own.

pub mod direct;
#[cfg(feature = "docker")]
pub mod docker;
#[cfg(feature = "elasticsearch")]
pub mod elasticsearch;
mod hosts_directory;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "local-index")]
pub mod local_index;
mod log_alerts;
pub mod memory;
#[cfg(feature = "otlp")]
pub mod otlp;
mod partition;
#[cfg(feature = "postgres")]
pub mod postgres;
mod system_clock;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use hosts_directory::HostsDirectory;
pub use log_alerts::LogAlerts;
pub use partition::partition_for;
pub use system_clock::SystemClock;
