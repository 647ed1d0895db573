//! The index of an Elasticsearch or OpenSearch cluster: one alias, one concrete index behind it, bulk writes under external
//! versions.

mod bulk;
mod check;
mod client;
mod concrete_indexes;
mod config;
mod error;
mod get;
mod hits;
mod index;
mod inventory;
mod look;
mod meta;
mod name;
mod product;
mod searcher;
mod sink;
mod verdict;

#[cfg(feature = "testkit")]
pub use bulk::{read_bulk, write_bulk};
pub use check::{ClusterReport, ClusterStatus, check};
pub use concrete_indexes::ElasticsearchIndexes;
pub use config::{Auth, ElasticsearchConfig, IndexConfig};
pub use product::Product;
pub use searcher::{ElasticsearchSearcher, ElasticsearchSearcherConfig};
pub use sink::ElasticsearchSink;
