//! Writing to topics: in order per key, without gaps, for as long as an outage lasts.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio::sync::Mutex;

use super::client::{aside, off_thread};
use super::config::KafkaConfig;
use super::delivery::{Batch, Deliveries};
use super::error::{kind_of_delivery, translate};
use super::known_partitions::KnownPartitions;
use super::producing::{KnownTopics, Limits, headers};
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{Acknowledgement, Publisher};

/// How long to wait for room in a full queue before looking again; what is in it keeps the brokers busy meanwhile.
pub(super) const MIN_WAIT: Duration = Duration::from_millis(1);
pub(super) const MAX_WAIT: Duration = Duration::from_millis(16);

/// How long a new producer waits for the brokers before its messages do.
const INTRODUCTION: Duration = Duration::from_millis(500);

/// What the guarantees rest on beside what every producer needs.
const FIXED: &[(&str, &str)] = &[("enable.gapless.guarantee", "true"), ("message.timeout.ms", "0")];

/// Writes to a Kafka cluster.
///
/// Idempotent, acknowledged by all in-sync replicas, keys where Java's clients put them. What is outstanding survives
/// an outage of any length; after a failure that cannot be repaired in place (a message refused, a permission taken
/// away) every outstanding acknowledgement fails. Once the caller has been told, by one of them or else by the next call
/// of `publish`, that fails too, the call after it begins anew.
///
/// Connects at the first `publish`, and waits until one message is stored in each partition before it hands over more. Dropping it drops what is outstanding; it does not block.
#[derive(Debug)]
pub struct KafkaPublisher {
    config: KafkaConfig,
    line: Mutex<Line>,
}

/// What is known and open. Emptied by a failure.
#[derive(Debug, Default)]
struct Line {
    topics: KnownTopics,
    session: Option<Session>,
}

impl KafkaPublisher {
    /// A publisher that has not connected yet.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub fn new(config: &KafkaConfig) -> Result<Self, Error> {
        config.client()?;
        Ok(Self { config: config.clone(), line: Mutex::default() })
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        if batch.is_empty() {
            return Ok(Box::pin(future::ready(Ok(()))));
        }
        let mut line = self.line.lock().await;
        if let Some(failed) = line.session.take_if(|session| session.deliveries().has_failed()) {
            // Topics may have changed as well: that may be why it failed.
            *line = Line::default();
            // A caller who has not heard of it hands over what comes behind the gap.
            if !failed.deliveries().was_told() {
                return Err(failed.deliveries().failure());
            }
        }
        line.topics.learn(&self.config, &batch).await?;
        line.topics.admit(&batch)?;
        let (topics, session) = line.session(&self.config, &batch[0].topic).await?;
        let (under_way, now) = (Batch::new(batch.len()), Instant::now());
        for message in &batch {
            let partition = topics.partition(message);
            if session.known.may_be_new(&message.topic, partition, now) {
                session.send_alone(message).await?;
                under_way.one_stored();
            } else {
                session.send(message, &under_way).await?;
            }
            session.known.wrote(&message.topic, partition, now);
        }
        let deliveries = Arc::clone(session.deliveries());
        Ok(Box::pin(async move { deliveries.stored(&under_way).await }))
    }
}

impl Line {
    /// The producer; a new one when there is none, or when a topic is known whose limits the old one does not keep.
    async fn session(&mut self, config: &KafkaConfig, topic: &str) -> Result<(&KnownTopics, &mut Session), Error> {
        let limits = self.topics.limits();
        if let Some(outgrown) = self.session.as_ref().filter(|session| session.limits != limits) {
            // Two producers at once would not keep the order.
            outgrown.drained().await?;
            self.session = None;
        }
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                let session = none.insert(Session::open(config, limits)?);
                session.introduce(topic).await;
                session
            }
        };
        Ok((&self.topics, session))
    }
}

/// One producer.
struct Session {
    /// Set until dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
    deliveries: Arc<Deliveries>,
    known: KnownPartitions,
    limits: Limits,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Session {
    fn open(config: &KafkaConfig, limits: Limits) -> Result<Self, Error> {
        let mut client = limits.producer(config)?;
        for (name, value) in FIXED {
            client.set(*name, *value);
        }
        let producer: ThreadedProducer<Deliveries> = client
            .create_with_context(Deliveries::default())
            .map_err(|error| translate("kafka: cannot make a producer", error))?;
        let deliveries = Arc::clone(producer.context());
        Ok(Self { producer: Some(producer), deliveries, known: KnownPartitions::default(), limits })
    }

    /// Has the brokers know the new producer before its first message. It is given its id after an answer about topics
    /// that comes from a broker it knows by number, which the second one does; left to itself it looks twice a second.
    async fn introduce(&self, topic: &str) {
        let Some(producer) = self.producer.clone() else { return };
        let topic = topic.to_owned();
        let asked = off_thread(move |_| {
            for _ in 0..2 {
                let answer = producer.client().fetch_metadata(Some(&topic), INTRODUCTION);
                answer.map_err(|error| translate("kafka: asking for a topic", error))?;
            }
            Ok(())
        });
        if let Err(error) = asked.await {
            tracing::debug!(%error, "messages wait for the brokers in the queue");
        }
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// Waits until the message is stored.
    async fn send_alone(&self, message: &Outgoing) -> Result<(), Error> {
        let alone = Batch::new(1);
        self.send(message, &alone).await?;
        self.deliveries.stored(&alone).await
    }

    /// Queues one message; waits while the queue is full.
    async fn send(&self, message: &Outgoing, under_way: &Arc<Batch>) -> Result<(), Error> {
        let mut record = BaseRecord::with_opaque_to(&message.topic, Arc::clone(under_way))
            .key(message.key.as_str())
            .headers(headers(&message.headers));
        record.payload = message.value.as_deref();
        let mut wait = MIN_WAIT;
        loop {
            // After a failure nothing more may be queued: it could be stored where what failed is missing.
            if self.deliveries.has_failed() {
                return Err(self.deliveries.failure());
            }
            let Some(producer) = &self.producer else { return Err(self.deliveries.failure()) };
            let Err((error, back)) = producer.send(record) else { return Ok(()) };
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(self.refusal(producer, message, &error));
            }
            record = back;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    /// A message could not even be queued: what is queued behind it must not be either.
    fn refusal(&self, producer: &ThreadedProducer<Deliveries>, message: &Outgoing, error: &KafkaError) -> Error {
        let what = |why: &dyn fmt::Display| {
            format!("kafka: a message to topic {:?} could not be queued: {why}", message.topic)
        };
        // A producer beyond repair says only that it is; why is known here before its callback has said it.
        match producer.client().fatal_error() {
            Some((code, reason)) => self.deliveries.fail(kind_of_delivery(code), what(&reason)),
            None => self.deliveries.fail_with(error, what),
        }
        self.deliveries.failure()
    }

    /// Waits until nothing is outstanding.
    async fn drained(&self) -> Result<(), Error> {
        while self.producer.as_ref().is_some_and(|producer| producer.in_flight_count() > 0) {
            if self.deliveries.has_failed() {
                return Err(self.deliveries.failure());
            }
            tokio::time::sleep(MAX_WAIT).await;
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let what = "kafka: the publisher was closed before everything was stored";
        self.deliveries.fail(ErrorKind::Unavailable, what.to_owned());
        if let Some(producer) = self.producer.take() {
            aside(move || drop(producer));
        }
    }
}
