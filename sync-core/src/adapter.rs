//! The world behind the ports. Each adapter is a folder; a client crate is named only in its own.

pub mod direct;
#[cfg(feature = "elasticsearch")]
pub mod elasticsearch;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
mod partition;
#[cfg(feature = "postgres")]
pub mod postgres;
mod system_clock;

pub use partition::partition_for;
pub use system_clock::SystemClock;
