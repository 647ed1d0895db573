//! What became of messages handed to librdkafka: counted per batch, in its callbacks.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::client::{Reporter, log};
use super::error::{code_of, kind_of_delivery};
use crate::error::{Error, ErrorKind};

/// The messages of one batch that are still under way.
#[derive(Debug)]
pub(super) struct Batch {
    under_way: AtomicUsize,
    stored: Notify,
}

impl Batch {
    /// `messages` must not be zero: the last delivery is what says that the batch is stored.
    pub(super) fn new(messages: usize) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(messages), stored: Notify::new() })
    }

    /// One more message of it is stored.
    pub(super) fn one_stored(&self) {
        if self.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stored.notify_one();
        }
    }
}

/// The callbacks of one producer, and what they found. One failure ends the producer: everything outstanding fails
/// with it, because nothing that comes later may be stored where something earlier is missing.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    reporter: Reporter,
    failure: OnceLock<(ErrorKind, String)>,
    failed: CancellationToken,
    /// The caller of the publisher knows.
    told: AtomicBool,
}

impl Deliveries {
    /// Fails everything outstanding; the first reason stays.
    pub(super) fn fail(&self, kind: ErrorKind, what: String) {
        self.failure.get_or_init(|| (kind, what));
        self.failed.cancel();
    }

    /// The same for what happened to one message.
    pub(super) fn fail_with(&self, error: &KafkaError, what: impl FnOnce(&dyn Display) -> String) {
        if self.has_failed() {
            return;
        }
        let code = code_of(error);
        let is_consequence = matches!(code, Some(Code::PurgeQueue | Code::PurgeInflight | Code::Fatal));
        // A producer that gives up purges its messages; why it did was said before.
        let cause = self.reporter.last().filter(|_| is_consequence);
        let (code, why): (_, &dyn Display) = match &cause {
            Some(complaint) => (complaint.code, &complaint.reason),
            None => (code, error),
        };
        self.fail(code.map_or(ErrorKind::Unavailable, kind_of_delivery), what(why));
    }

    /// Asked before each message.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Whether the caller of the publisher knows of the failure.
    pub(super) fn was_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// What the caller is told.
    pub(super) fn failure(&self) -> Error {
        self.told.store(true, Ordering::Release);
        match self.failure.get() {
            Some((kind, what)) => Error::new(*kind, what.clone()),
            None => Error::new(ErrorKind::Unavailable, "kafka: the producer gave up"),
        }
    }

    /// Waits until the batch is stored, or anything failed.
    pub(super) async fn stored(&self, batch: &Batch) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = batch.stored.notified() => Ok(()),
            () = self.failed.cancelled() => Err(self.failure()),
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.note(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let what = |message: &BorrowedMessage<'_>, why: &dyn Display| {
            let key = shown(message.key().unwrap_or_default());
            format!("kafka: a message to topic {:?} with key {key} was not stored: {why}", message.topic())
        };
        match result {
            // librdkafka says that a message is stored, but not where, when a later one is: brokers would take none
            // behind a gap. They do take one as the first of a producer, and then the earlier one is lost.
            Ok(message) if message.offset() < 0 => {
                self.fail(
                    ErrorKind::Unavailable,
                    what(message, &"a later one was, and no broker said where this one is"),
                );
            }
            Ok(_) => batch.one_stored(),
            Err((error, message)) => self.fail_with(error, |why| what(message, why)),
        }
    }
}

/// The beginning of a key, for a person.
pub(super) fn shown(key: &[u8]) -> String {
    const ENOUGH: usize = 100;
    let text = String::from_utf8_lossy(key);
    if text.chars().count() <= ENOUGH {
        return format!("{text:?}");
    }
    format!("{:?}… ({} bytes)", text.chars().take(ENOUGH).collect::<String>(), key.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_is_the_one_reported_and_a_stored_batch_stays_stored() {
        let deliveries = Deliveries::default();
        let stored = Batch::new(1);
        stored.stored.notify_one();
        deliveries.fail(ErrorKind::Denied, "first".into());
        deliveries.fail(ErrorKind::Unavailable, "second".into());
        deliveries.stored(&stored).await.unwrap();
        let error = deliveries.stored(&Batch::new(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Denied, "first"));
    }

    #[tokio::test]
    async fn a_purged_message_says_why_the_producer_gave_up() {
        let deliveries = Deliveries::default();
        let reason = "Failed to acquire idempotence PID: Broker: Cluster authorization failed";
        deliveries.error(KafkaError::Global(Code::ClusterAuthorizationFailed), reason);
        assert!(!deliveries.has_failed());
        deliveries.fail_with(&KafkaError::MessageProduction(Code::PurgeQueue), |why| format!("lost: {why}"));
        let error = deliveries.stored(&Batch::new(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.to_string(), format!("lost: {reason}"));
    }
}
