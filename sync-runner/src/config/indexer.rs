//! `[indexer]`: bus to index.

use super::reader::Section;

/// How the indexer gathers and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexer {
    /// Messages of one partition taken together, at most.
    pub(crate) batch_messages: usize,
    /// Bytes of documents in one request to Elasticsearch, about.
    pub(crate) batch_bytes: usize,
    /// Batches of one index in work at the same time, at most.
    pub(crate) in_flight: usize,
}

impl Default for Indexer {
    fn default() -> Self {
        Self { batch_messages: 1_000, batch_bytes: 8 << 20, in_flight: 4 }
    }
}

impl Indexer {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        Self {
            batch_messages: section.integer("batch_messages", 1..=100_000).unwrap_or(default.batch_messages),
            batch_bytes: section.size("batch_bytes", 1 << 10..=256 << 20).unwrap_or(default.batch_bytes),
            in_flight: section.integer("in_flight", 1..=100).unwrap_or(default.in_flight),
        }
    }
}
