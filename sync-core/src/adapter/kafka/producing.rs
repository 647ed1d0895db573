//! What every producer needs: settings the order rests on, and what the topics in use leave open.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};

use super::config::KafkaConfig;
use super::delivery::shown;
use super::record::size_alone;
use super::topic::Topic;
use super::topics;
use crate::adapter::partition::partition_for;
use crate::error::{Error, ErrorKind};
use crate::event::{Header as MessageHeader, Outgoing};

/// How long brokers may take to answer about topics before that counts as an outage.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// librdkafka's own bound on a message, which must never be the one that decides.
const MAX_MESSAGE_BYTES: usize = 1_000_000_000;
/// More in one batch no longer makes anything faster.
const MAX_BATCH_BYTES: usize = 1_000_000;
/// Bytes of values that may wait for the brokers. Keys and headers come on top: see `queue.buffering.max.messages`.
const MIN_QUEUE_BYTES: usize = 16 << 20;

/// What `kafka.properties` may say otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    // Batches form by themselves while earlier ones are under way; waiting would only cost an idle system time.
    ("linger.ms", "0"),
    // A message costs librdkafka some 600 bytes beside its value.
    ("queue.buffering.max.messages", "20000"),
];

/// What the order rests on.
const FIXED: &[(&str, &str)] = &[("acks", "all"), ("enable.idempotence", "true"), ("partitioner", "murmur2_random")];

/// The topics that were looked up.
#[derive(Debug, Default)]
pub(super) struct KnownTopics {
    known: BTreeMap<String, Topic>,
    /// Those no message goes to, and why.
    closed: BTreeMap<String, String>,
}

impl KnownTopics {
    /// Looks up the topics that are not known yet, and once more those to which a message cannot go: what is missing may
    /// have been mended since, and what was parked be published anew.
    pub(super) async fn learn(&mut self, config: &KafkaConfig, batch: &[Outgoing]) -> Result<(), Error> {
        let mut unknown = Vec::new();
        for message in batch {
            let topic = &message.topic;
            if config.is_reserved(topic) {
                self.closed.insert(topic.clone(), format!("topic {topic:?} is Kafka's or a relay's own"));
                continue;
            }
            let is_known = self.known.get(topic).is_some_and(|known| size_alone(message) <= known.max_message_bytes);
            if !is_known && !unknown.contains(topic) {
                unknown.push(topic.clone());
            }
        }
        if !unknown.is_empty() {
            self.closed.retain(|topic, _| !unknown.contains(topic));
            let (known, impossible) = topics::ensure_possible(config, unknown, PATIENCE).await?;
            self.known.extend(known);
            self.closed.extend(impossible.into_iter().map(|(topic, error)| (topic, error.to_string())));
        }
        Ok(())
    }

    /// The partition a message goes to, as far as is known here: topics may have grown since.
    pub(super) fn partition(&self, message: &Outgoing) -> i32 {
        let partitions = self.known.get(&message.topic).map_or(1, |topic| topic.partitions);
        partition_for(message.key.as_bytes(), partitions)
    }

    /// Refuses the batch when one of its messages can never be stored: nothing of it has been handed over then.
    pub(super) fn admit(&self, batch: &[Outgoing]) -> Result<(), Error> {
        self.refusals(batch).next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// The messages that can never be stored, by their places, and why.
    pub(super) fn refusals(&self, batch: &[Outgoing]) -> impl Iterator<Item = (usize, Error)> {
        batch.iter().enumerate().filter_map(|(place, message)| Some((place, self.refusal(message)?)))
    }

    fn refusal(&self, message: &Outgoing) -> Option<Error> {
        let topic = &message.topic;
        let event = || {
            let id = message.headers.iter().find(|(name, _)| name == "id" || name == "ce_id");
            let (id, key) = (id.map_or("none", |(_, id)| &**id), shown(message.key.as_bytes()));
            format!("kafka: the event with id {id} and key {key}")
        };
        if let Some(why) = self.closed.get(topic) {
            return Some(Error::new(ErrorKind::Refused, format!("{} cannot be published: {why}", event())));
        }
        let limit = self.known.get(topic).map_or(MAX_MESSAGE_BYTES, |known| known.max_message_bytes);
        let limit = limit.min(MAX_MESSAGE_BYTES);
        let size = size_alone(message);
        if size <= limit {
            return None;
        }
        let what = format!(
            "{} takes {size} bytes, topic {topic:?} takes {limit}; make it smaller, or raise the topic's max.message.bytes",
            event()
        );
        Some(Error::new(ErrorKind::Refused, what))
    }

    /// What they leave open for a producer.
    pub(super) fn limits(&self) -> Limits {
        let limits = || self.known.values().map(|topic| topic.max_message_bytes);
        Limits {
            smallest: limits().min().unwrap_or(MAX_BATCH_BYTES).min(MAX_BATCH_BYTES),
            largest: limits().max().unwrap_or_default().clamp(MIN_QUEUE_BYTES, MAX_MESSAGE_BYTES),
        }
    }
}

/// What the topics in use leave open for the producer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// No batch may be larger: a batch that is refused takes every message in it along.
    smallest: usize,
    /// The queue must have room for one message of this size.
    largest: usize,
}

impl Limits {
    /// The settings of a producer that keeps to them.
    pub(super) fn producer(self, config: &KafkaConfig) -> Result<ClientConfig, Error> {
        let mut client = config.client_with(DEFAULTS, FIXED)?;
        client.set("message.max.bytes", MAX_MESSAGE_BYTES.to_string());
        client.set("batch.size", self.smallest.to_string());
        client.set("queue.buffering.max.kbytes", self.largest.div_ceil(1024).to_string());
        Ok(client)
    }
}

/// A message's headers as the client takes them.
pub(super) fn headers(headers: &[MessageHeader]) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(empty, |all, (name, value)| all.insert(Header { key: name, value: Some(&**value) }))
}
