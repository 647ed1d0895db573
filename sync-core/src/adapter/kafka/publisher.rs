//! Writing to topics: in order per key, without gaps, for as long as an outage lasts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio::sync::Mutex;

use super::client::aside;
use super::config::KafkaConfig;
use super::delivery::{Batch, Deliveries, shown};
use super::error::translate;
use super::record::size_alone;
use super::topics;
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{Acknowledgement, Publisher};

/// How long brokers may take to answer about topics before that counts as an outage.
const PATIENCE: Duration = Duration::from_secs(10);
/// librdkafka's own bound on a message, which must never be the one that decides.
const MAX_MESSAGE_BYTES: usize = 1_000_000_000;
/// More in one batch no longer makes anything faster.
const MAX_BATCH_BYTES: usize = 1_000_000;
/// Bytes of values that may wait for the brokers. Keys and headers come on top: see `queue.buffering.max.messages`.
const MIN_QUEUE_BYTES: usize = 16 << 20;
/// How long to wait for room in a full queue before looking again; what is in it keeps the brokers busy meanwhile.
const MIN_WAIT: Duration = Duration::from_millis(1);
const MAX_WAIT: Duration = Duration::from_millis(16);

/// What `kafka.properties` may say otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    // Batches form by themselves while earlier ones are under way; waiting would only cost an idle system time.
    ("linger.ms", "0"),
    // A message costs librdkafka some 600 bytes beside its value.
    ("queue.buffering.max.messages", "20000"),
];

/// What the guarantees rest on.
const FIXED: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    ("message.timeout.ms", "0"),
    ("partitioner", "murmur2_random"),
];

/// Writes to a Kafka cluster.
///
/// Idempotent, acknowledged by all in-sync replicas, keys where Java's clients put them. What is outstanding survives
/// an outage of any length; after a failure that cannot be repaired in place (a message refused, a permission taken
/// away) every outstanding acknowledgement fails. Once the caller has been told, by one of them or else by the next call
/// of `publish`, that fails too, the call after it begins anew.
///
/// Connects at the first `publish`. Dropping it drops what is outstanding; it does not block.
#[derive(Debug)]
pub struct KafkaPublisher {
    config: KafkaConfig,
    line: Mutex<Line>,
}

/// What is known and open. Emptied by a failure.
#[derive(Debug, Default)]
struct Line {
    /// The largest batch each topic takes, in bytes.
    limits: BTreeMap<String, usize>,
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
        line.learn(&self.config, &batch).await?;
        line.admit(&batch)?;
        let session = line.session(&self.config).await?;
        let under_way = Batch::new(batch.len());
        for message in &batch {
            session.send(message, &under_way).await?;
        }
        let deliveries = Arc::clone(session.deliveries());
        Ok(Box::pin(async move { deliveries.stored(&under_way).await }))
    }
}

impl Line {
    /// Looks up the topics that are not known yet.
    async fn learn(&mut self, config: &KafkaConfig, batch: &[Outgoing]) -> Result<(), Error> {
        let mut unknown = Vec::new();
        for message in batch {
            if !self.limits.contains_key(&message.topic) && !unknown.contains(&message.topic) {
                unknown.push(message.topic.clone());
            }
        }
        if !unknown.is_empty() {
            let found = topics::ensure(config, unknown, PATIENCE).await?;
            self.limits.extend(found.into_iter().map(|(name, topic)| (name, topic.max_message_bytes)));
        }
        Ok(())
    }

    /// Refuses the batch when one of its messages can never be stored: nothing of it has been handed over then.
    fn admit(&self, batch: &[Outgoing]) -> Result<(), Error> {
        for message in batch {
            let limit = self.limits.get(&message.topic).copied().unwrap_or(MAX_MESSAGE_BYTES).min(MAX_MESSAGE_BYTES);
            let size = size_alone(message);
            if size > limit {
                let id = message.headers.iter().find(|(name, _)| name == "id").map_or("none", |(_, id)| id.as_str());
                let (topic, key) = (&message.topic, shown(message.key.as_bytes()));
                let what = format!(
                    "kafka: the event with id {id} and key {key} takes {size} bytes, topic {topic:?} takes {limit}; \
                     make it smaller, or raise the topic's max.message.bytes"
                );
                return Err(Error::new(ErrorKind::Refused, what));
            }
        }
        Ok(())
    }

    /// The producer; a new one when there is none, or when a topic is known whose limits the old one does not keep.
    async fn session(&mut self, config: &KafkaConfig) -> Result<&Session, Error> {
        let limits = Limits {
            smallest: self.limits.values().copied().min().unwrap_or(MAX_BATCH_BYTES).min(MAX_BATCH_BYTES),
            largest: self.limits.values().copied().max().unwrap_or_default().clamp(MIN_QUEUE_BYTES, MAX_MESSAGE_BYTES),
        };
        if let Some(outgrown) = self.session.as_ref().filter(|session| session.limits != limits) {
            // Two producers at once would not keep the order.
            outgrown.drained().await?;
            self.session = None;
        }
        match &mut self.session {
            Some(session) => Ok(session),
            none => Ok(none.insert(Session::open(config, limits)?)),
        }
    }
}

/// What the topics in use leave open for the producer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// No batch may be larger: a batch that is refused takes every message in it along.
    smallest: usize,
    /// The queue must have room for one message of this size.
    largest: usize,
}

/// One producer.
struct Session {
    /// Set until dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
    deliveries: Arc<Deliveries>,
    limits: Limits,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Session {
    fn open(config: &KafkaConfig, limits: Limits) -> Result<Self, Error> {
        let mut client = config.client()?;
        for (name, value) in DEFAULTS {
            if !config.properties.contains_key(*name) {
                client.set(*name, *value);
            }
        }
        for (name, value) in FIXED {
            client.set(*name, *value);
        }
        client.set("message.max.bytes", MAX_MESSAGE_BYTES.to_string());
        client.set("batch.size", limits.smallest.to_string());
        client.set("queue.buffering.max.kbytes", limits.largest.div_ceil(1024).to_string());
        let producer: ThreadedProducer<Deliveries> = client
            .create_with_context(Deliveries::default())
            .map_err(|error| translate("kafka: cannot make a producer", error))?;
        let deliveries = Arc::clone(producer.context());
        Ok(Self { producer: Some(producer), deliveries, limits })
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// Queues one message; waits while the queue is full.
    async fn send(&self, message: &Outgoing, under_way: &Arc<Batch>) -> Result<(), Error> {
        let mut record = BaseRecord::with_opaque_to(&message.topic, Arc::clone(under_way))
            .key(message.key.as_str())
            .payload(message.value.as_str())
            .headers(headers(&message.headers));
        let mut wait = MIN_WAIT;
        loop {
            // After a failure nothing more may be queued: it could be stored where what failed is missing.
            if self.deliveries.has_failed() {
                return Err(self.deliveries.failure());
            }
            let Some(producer) = &self.producer else { return Err(self.deliveries.failure()) };
            let Err((error, back)) = producer.send(record) else { return Ok(()) };
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(self.refusal(message, &error));
            }
            record = back;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    /// A message could not even be queued: what is queued behind it must not be either.
    fn refusal(&self, message: &Outgoing, error: &KafkaError) -> Error {
        let what = |why: &dyn fmt::Display| {
            format!("kafka: a message to topic {:?} could not be queued: {why}", message.topic)
        };
        self.deliveries.fail_with(error, what);
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

fn headers(headers: &[(String, String)]) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(empty, |all, (name, value)| all.insert(Header { key: name, value: Some(value.as_str()) }))
}
