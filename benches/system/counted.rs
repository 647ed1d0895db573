//! A producer that counts what became of its messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};

use crate::Outcome;

/// Its callbacks.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Counts>);

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    failed: AtomicU64,
}

impl Counted {
    /// A producer, and the same counts as its callbacks see them.
    pub(crate) fn producer(client: &ClientConfig) -> Outcome<(ThreadedProducer<Self>, Self)> {
        let counted = Self::default();
        Ok((client.create_with_context(counted.clone())?, counted))
    }

    /// How many messages are stored.
    pub(crate) fn stored(&self) -> Outcome<u64> {
        if self.0.failed.load(Ordering::Relaxed) > 0 {
            return Err("a message was not stored".into());
        }
        Ok(self.0.stored.load(Ordering::Relaxed))
    }
}

impl ClientContext for Counted {}

impl ProducerContext for Counted {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.stored } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
