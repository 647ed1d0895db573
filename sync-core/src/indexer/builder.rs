//! An indexer is put together.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::parking::Parking;
use super::progress::IndexerProgress;
use super::traces::Traces;
use super::work::Worker;
use super::{Indexer, IndexerConfig};
use crate::applier::{Applier, ApplierConfig};
use crate::port::{Projection, Sink, Subscriber, Tracer};

/// An indexer that is put together; [`build`](Self::build) makes it.
#[derive(Debug)]
#[must_use = "an indexer is made by `build`"]
pub struct IndexerBuilder {
    pub(super) subscriber: Arc<dyn Subscriber>,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) parking: Parking,
    pub(super) config: IndexerConfig,
    pub(super) tracer: Option<Arc<dyn Tracer>>,
}

impl IndexerBuilder {
    /// How it works; [`IndexerConfig::default`] otherwise.
    pub fn config(self, config: IndexerConfig) -> Self {
        Self { config, ..self }
    }

    /// What is done for messages whose emitter is traced is told there, if anywhere.
    pub fn tracer(self, tracer: impl Into<Option<Arc<dyn Tracer>>>) -> Self {
        Self { tracer: tracer.into(), ..self }
    }

    /// The indexer. It does nothing until it is run.
    #[must_use]
    pub fn build(self) -> Indexer {
        let Self { subscriber, projection, sink, parking, config, tracer } = self;
        // No batch would ever begin.
        let config = IndexerConfig { batch_messages: config.batch_messages.max(1), ..config };
        let progress = IndexerProgress::of(parking.followed().reader);
        let IndexerConfig { batch_messages, batch_bytes, in_flight, breaker, .. } = config;
        let applier = ApplierConfig { page_keys: batch_messages, batch_bytes, in_flight, breaker };
        let worker = Worker {
            applier: Arc::new(Applier::new(projection, sink, applier)),
            config,
            permits: Arc::new(Semaphore::new(in_flight.max(1))),
            progress: progress.clone(),
            traces: Traces(tracer),
        };
        Indexer { subscriber, worker, parking: Arc::new(parking), config, progress }
    }
}
