//! One transactional producer. Everything here blocks.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::marks::MARKS_PARTITION;
use crate::adapter::kafka::client::{Asker, aside};
use crate::adapter::kafka::config::KafkaConfig;
use crate::adapter::kafka::delivery::{Batch, Deliveries};
use crate::adapter::kafka::error::{kind_of, translate};
use crate::adapter::kafka::producing::{Limits, headers};
use crate::adapter::kafka::publisher::{MAX_WAIT, MIN_WAIT};
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;

/// How long one call of the client may block before it is looked whether anybody still waits.
const SLICE: Duration = Duration::from_millis(500);
/// How long taking a failed transaction back may take; left alone, the brokers do it, or whoever begins next.
const ABORT: Duration = Duration::from_secs(3);
/// How long a transaction may take unless `kafka.properties` says otherwise. A process that froze in one keeps readers
/// waiting that long, or until another relay takes over.
const TRANSACTION: &str = "60000";

/// A producer that has shut out all others of its transactional id.
pub(in crate::adapter::kafka) struct TransactionalProducer {
    /// Set until dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
    deliveries: Arc<Deliveries>,
    id: String,
}

impl TransactionalProducer {
    /// Shuts out the others.
    pub(in crate::adapter::kafka) fn begin(
        config: &KafkaConfig,
        limits: Limits,
        id: &str,
        patience: Duration,
        asker: &Asker<'_>,
    ) -> Result<Self, Error> {
        let mut client = limits.producer(config)?;
        client.set("transactional.id", id);
        if !config.properties.contains_key("transaction.timeout.ms") {
            client.set("transaction.timeout.ms", TRANSACTION);
        }
        let producer: ThreadedProducer<Deliveries> = client
            .create_with_context(Deliveries::default())
            .map_err(|error| translate("kafka: cannot make a transactional producer", error))?;
        let deliveries = Arc::clone(producer.context());
        let this = Self { producer: Some(producer), deliveries, id: id.to_owned() };
        let deadline = Instant::now() + patience;
        this.repeat(deadline, asker, |producer| producer.init_transactions(SLICE))
            .map_err(|error| this.judge("shutting out others of the transactional id", error))?;
        Ok(this)
    }

    fn producer(&self) -> Result<&ThreadedProducer<Deliveries>, KafkaError> {
        self.producer.as_ref().ok_or(KafkaError::Canceled)
    }

    /// Stores the messages and the position, or nothing.
    pub(super) fn publish(
        &self,
        messages: &[Outgoing],
        (topic, key, position): &(String, String, String),
        asker: &Asker<'_>,
    ) -> Result<(), Error> {
        let begun = self.producer().and_then(Producer::begin_transaction);
        begun.map_err(|error| self.judge("beginning a transaction", error))?;
        let sent = (|| {
            let under_way = Batch::new(messages.len() + 1);
            for message in messages {
                let mut record = BaseRecord::with_opaque_to(&message.topic, Arc::clone(&under_way))
                    .key(message.key.as_str())
                    .headers(headers(&message.headers));
                record.payload = message.value.as_deref();
                self.send(record, asker)?;
            }
            let record = BaseRecord::with_opaque_to(topic, under_way).partition(MARKS_PARTITION);
            self.send(record.key(key.as_str()).payload(position.as_str()), asker)?;
            self.await_deliveries(asker)?;
            // It ends by itself: what is not stored within the transaction's time-out fails.
            self.repeat(None, asker, |producer| producer.commit_transaction(SLICE))
        })();
        sent.map_err(|error| {
            let judged = self.judge("committing a transaction", error);
            self.abort();
            judged
        })
    }

    /// Returns when nothing is under way any more, or nobody waits; fails with the first message. Asked to commit
    /// earlier, the client would look for deliveries only ten times a second, because another thread takes them; and it
    /// would commit without a message of which we know better than it does that it is not stored.
    fn await_deliveries(&self, asker: &Asker<'_>) -> Result<(), KafkaError> {
        while self.producer()?.in_flight_count() > 0 && !self.deliveries.has_failed() && !asker.is_gone() {
            sleep(MIN_WAIT);
        }
        if self.deliveries.has_failed() { Err(KafkaError::Canceled) } else { Ok(()) }
    }

    /// Queues one message; waits while the queue is full.
    fn send(&self, record: BaseRecord<'_, str, str, Arc<Batch>>, asker: &Asker<'_>) -> Result<(), KafkaError> {
        let mut record = record;
        let mut wait = MIN_WAIT;
        loop {
            let Err((error, back)) = self.producer()?.send(record) else { return Ok(()) };
            if error != KafkaError::MessageProduction(Code::QueueFull) || asker.is_gone() {
                return Err(error);
            }
            record = back;
            sleep(wait);
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    /// Calls until it succeeds or fails for good, the time is over, or nobody waits any more.
    fn repeat(
        &self,
        deadline: impl Into<Option<Instant>>,
        asker: &Asker<'_>,
        call: impl Fn(&ThreadedProducer<Deliveries>) -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        let deadline = deadline.into();
        loop {
            let Err(error) = call(self.producer()?) else { return Ok(()) };
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline) || asker.is_gone();
            if is_over || !passes(&error) {
                return Err(error);
            }
        }
    }

    /// Takes the transaction back, so that readers need not wait for its time-out.
    fn abort(&self) {
        let deadline = Instant::now() + ABORT;
        let aborted = self.repeat(deadline, &Asker::HERE, |producer| {
            let patience = deadline.saturating_duration_since(Instant::now()).min(SLICE);
            producer.abort_transaction(patience)
        });
        if let Err(error) = aborted {
            tracing::debug!(%error, id = self.id, "a transaction was not taken back; the next one does it");
        }
    }

    /// What a failure means. Why a message failed says more than that its transaction did; that another has taken over
    /// says more than both.
    fn judge(&self, doing: &str, error: KafkaError) -> Error {
        let what = format!("kafka: {doing} ({:?})", self.id);
        let fatal = self.producer.as_ref().and_then(|producer| producer.client().fatal_error());
        let code = fatal.as_ref().map(|(code, _)| *code).or_else(|| error.rdkafka_error_code());
        match code.map(kind_of) {
            Some(ErrorKind::Fenced) => {
                Error::new(ErrorKind::Fenced, format!("{what}: another relay has taken over")).with_source(error)
            }
            Some(ErrorKind::Denied) if code == Some(Code::TransactionalIdAuthorizationFailed) => {
                let mend = "grant Write and Describe on the transactional id";
                Error::new(ErrorKind::Denied, format!("{what}: {mend}")).with_source(error)
            }
            Some(_) | None if self.deliveries.has_failed() => self.deliveries.failure(),
            // Beyond repair for this producer, and the next one goes on from the position.
            Some(_) | None => match fatal {
                Some((_, reason)) => Error::new(ErrorKind::Unavailable, format!("{what}: {reason}")),
                None => translate(what, error),
            },
        }
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            aside(move || drop(producer));
        }
    }
}

/// Whether the same call may be made again, and go on where this one ended.
fn passes(error: &KafkaError) -> bool {
    if let KafkaError::Transaction(error) = error {
        return error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort();
    }
    *error == KafkaError::Flush(Code::OperationTimedOut)
}
