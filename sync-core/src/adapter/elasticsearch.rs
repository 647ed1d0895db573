//! The index of an Elasticsearch cluster: one alias, one concrete index behind it, bulk writes under external versions.

mod bulk;
mod check;
mod client;
mod config;
mod error;
mod generations;
mod get;
mod index;
mod inventory;
mod meta;
mod name;
mod sink;
mod verdict;

#[cfg(feature = "testkit")]
pub use bulk::{read_bulk, write_bulk};
pub use check::{ClusterReport, check};
pub use config::{Auth, ElasticsearchConfig, IndexConfig};
pub use generations::ElasticsearchGenerations;
pub use sink::ElasticsearchSink;
