//! `[relay]`: outbox to bus.

use std::time::Duration;

use super::reader::{Choice, Section};

/// How the relay reads the outbox and where it publishes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relay {
    /// The name of its position and lease.
    pub(crate) subscription: String,
    /// What carries the messages to the indexer.
    pub(crate) bus: Bus,
    /// What a crash may repeat.
    pub(crate) delivery: Delivery,
    /// How events are written into messages.
    pub(crate) encoding: Encoding,
    /// How Debezium's encoding writes a payload.
    pub(crate) debezium_value: DebeziumValue,
    /// Where `CloudEvents` say that they come from.
    pub(crate) cloudevents_source: String,
    /// The beginning of what it is called in Kafka.
    pub(crate) namespace: String,
    /// The topic of the positions.
    pub(crate) positions_topic: String,
    /// How long the lease lasts without a renewal.
    pub(crate) lease: Duration,
    /// Events in one batch, at most.
    pub(crate) batch_events: usize,
    /// Bytes in one batch, about.
    pub(crate) batch_bytes: usize,
    /// Bytes of the largest payload that is published.
    pub(crate) max_payload: usize,
    /// Batches that are published and not yet acknowledged, at most.
    pub(crate) in_flight: usize,
    /// How long to wait for more commits while they come steadily, at most.
    pub(crate) linger: Duration,
    /// How often to look when nothing rings.
    pub(crate) poll_interval: Duration,
    /// How long events are kept at least.
    pub(crate) retention: Duration,
    /// Only events of these topics; all when absent.
    pub(crate) topics: Option<Vec<String>>,
}

/// What carries messages from the relay to the indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    /// Kafka.
    Kafka,
    /// No broker: relay and indexer in one process.
    Direct,
}

impl Choice for Bus {
    const WORDS: &'static [(&'static str, Self)] = &[("kafka", Self::Kafka), ("direct", Self::Direct)];
}

/// What a crash may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Events since the last recorded position.
    AtLeastOnce,
    /// Nothing, for consumers that read what is committed.
    ExactlyOnce,
}

impl Choice for Delivery {
    const WORDS: &'static [(&'static str, Self)] =
        &[("at_least_once", Self::AtLeastOnce), ("exactly_once", Self::ExactlyOnce)];
}

/// How events are written into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As the indexer's own topics have them.
    Standard,
    /// As Debezium's outbox event router has them.
    Debezium,
    /// `CloudEvents` with their attributes in headers.
    CloudEvents,
    /// `CloudEvents` with their attributes in the value.
    CloudEventsStructured,
}

impl Choice for Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("standard", Self::Standard),
        ("debezium", Self::Debezium),
        ("cloudevents", Self::CloudEvents),
        ("cloudevents_structured", Self::CloudEventsStructured),
    ];
}

/// How Debezium's encoding writes a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DebeziumValue {
    /// As it is.
    Json,
    /// As one string of JSON.
    String,
}

impl Choice for DebeziumValue {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json), ("string", Self::String)];
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            subscription: "search".to_owned(),
            bus: Bus::Direct,
            delivery: Delivery::AtLeastOnce,
            encoding: Encoding::Standard,
            debezium_value: DebeziumValue::Json,
            cloudevents_source: "/outbox".to_owned(),
            namespace: "sync".to_owned(),
            positions_topic: "sync-relay-positions".to_owned(),
            lease: Duration::from_secs(10),
            batch_events: 1_000,
            batch_bytes: 4 << 20,
            max_payload: 4 << 20,
            in_flight: 8,
            linger: Duration::from_millis(10),
            poll_interval: Duration::from_secs(1),
            retention: Duration::from_secs(7 * 24 * 3_600),
            topics: None,
        }
    }
}

impl Relay {
    /// Where nothing is said of the bus, it is Kafka when there are brokers.
    pub(super) fn read(mut section: Section<'_>, has_brokers: bool) -> Self {
        let default = Self::default();
        let bus = if has_brokers { Bus::Kafka } else { default.bus };
        Self {
            subscription: section.text("subscription").unwrap_or(default.subscription),
            bus: section.choice("bus").unwrap_or(bus),
            delivery: section.choice("delivery").unwrap_or(default.delivery),
            encoding: section.choice("encoding").unwrap_or(default.encoding),
            debezium_value: section.choice("debezium_value").unwrap_or(default.debezium_value),
            cloudevents_source: source(&mut section).unwrap_or(default.cloudevents_source),
            namespace: section.text("namespace").unwrap_or(default.namespace),
            positions_topic: section.text("positions_topic").unwrap_or(default.positions_topic),
            lease: section
                .duration("lease", Duration::from_secs(1)..=Duration::from_secs(600))
                .unwrap_or(default.lease),
            batch_events: section.integer("batch_events", 1..=1_000_000).unwrap_or(default.batch_events),
            batch_bytes: section.size("batch_bytes", 1 << 10..=256 << 20).unwrap_or(default.batch_bytes),
            max_payload: section.size("max_payload", 1 << 10..=256 << 20).unwrap_or(default.max_payload),
            in_flight: section.integer("in_flight", 1..=1_000).unwrap_or(default.in_flight),
            linger: section.duration("linger", Duration::ZERO..=Duration::from_secs(1)).unwrap_or(default.linger),
            poll_interval: section
                .duration("poll_interval", Duration::from_millis(10)..=Duration::from_secs(600))
                .unwrap_or(default.poll_interval),
            retention: section
                .duration("retention", Duration::from_secs(3_600)..=Duration::from_secs(3_660 * 24 * 3_600))
                .unwrap_or(default.retention),
            topics: topics(&mut section),
        }
    }
}

/// A URI reference, as far as that is seen at a glance.
fn source(section: &mut Section<'_>) -> Option<String> {
    let source = section.text("cloudevents_source")?;
    if source.chars().any(|c| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c)) {
        let what =
            format!("{source:?} is no URI reference, such as \"/shop/orders\" or \"https://shop.example/orders\"");
        section.problem("cloudevents_source", what);
    }
    Some(source)
}

/// Names that `outbox.watch` would take: another one no event has.
fn topics(section: &mut Section<'_>) -> Option<Vec<String>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = |topic: &&String| (1..=249).contains(&topic.len()) && topic.chars().all(is_part);
    let topics = section.list("topics")?;
    if let Some(other) = topics.iter().find(|topic| !is_name(topic)) {
        let what = format!(
            "{other:?} is no name of a topic, which has letters, digits, '.', '_' and '-' only; in a variable or on the \
             command line, several are separated by commas"
        );
        section.problem("topics", what);
    }
    Some(topics)
}
