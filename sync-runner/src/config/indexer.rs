//! `[indexer]`: bus to index.

use std::time::Duration;

use super::reader::{Choice, Section};

/// How the indexer gathers and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexer {
    /// What takes the documents.
    pub(crate) sink: Sink,
    /// Messages of one partition taken together, at most.
    pub(crate) batch_messages: usize,
    /// Bytes of documents in one request to the index, about.
    pub(crate) batch_bytes: usize,
    /// Batches of one index in work at the same time, at most.
    pub(crate) in_flight: usize,
    /// Failures of a batch that look like a wrong mapping when nothing else of it was taken; zero: none do.
    pub(crate) suspicious: usize,
    /// Tries of what fails for a reason nobody knows.
    pub(crate) retries: Retries,
}

/// What takes the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// A cluster.
    Elasticsearch,
    /// A directory of this machine.
    Local,
}

impl Choice for Sink {
    const WORDS: &'static [(&'static str, Self)] = &[("elasticsearch", Self::Elasticsearch), ("local", Self::Local)];
}

/// Tries of what fails for a reason nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retries {
    /// Tries in all, the first one included.
    pub(crate) attempts: u32,
    /// Before the second try.
    pub(crate) first_delay: Duration,
    /// How many times longer each further delay is.
    pub(crate) multiplier: u32,
}

impl Default for Indexer {
    fn default() -> Self {
        let retries = Retries { attempts: 3, first_delay: Duration::from_secs(1), multiplier: 2 };
        Self { sink: Sink::Local, batch_messages: 4_000, batch_bytes: 8 << 20, in_flight: 4, suspicious: 10, retries }
    }
}

impl Indexer {
    /// Where nothing is said of the sink, it is Elasticsearch when there are addresses of it.
    pub(super) fn read(mut section: Section<'_>, has_cluster: bool) -> Self {
        let default = Self::default();
        let sink = if has_cluster { Sink::Elasticsearch } else { default.sink };
        Self {
            sink: section.choice("sink").unwrap_or(sink),
            batch_messages: section.integer("batch_messages", 1..=100_000).unwrap_or(default.batch_messages),
            batch_bytes: section.size("batch_bytes", 1 << 10..=256 << 20).unwrap_or(default.batch_bytes),
            in_flight: section.integer("in_flight", 1..=100).unwrap_or(default.in_flight),
            suspicious: section.integer("suspicious", 0..=100_000).unwrap_or(default.suspicious),
            retries: Retries::read(section.section("retries"), default.retries),
        }
    }
}

impl Retries {
    fn read(mut section: Section<'_>, default: Self) -> Self {
        let delays = Duration::from_millis(10)..=Duration::from_secs(3_600);
        Self {
            attempts: section.integer("attempts", 1..=10).unwrap_or(default.attempts),
            first_delay: section.duration("first_delay", delays).unwrap_or(default.first_delay),
            multiplier: section.integer("multiplier", 2..=10).unwrap_or(default.multiplier),
        }
    }
}
