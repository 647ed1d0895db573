//! What a topic's metadata and settings say of it.

use std::time::Duration;

use rdkafka::admin::ConfigResource;

use crate::error::{Error, ErrorKind};

/// A topic as the cluster has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// How many partitions it has.
    pub partitions: i32,
    /// The copies of its least copied partition.
    pub replication: usize,
    /// How many brokers there are to have a copy.
    pub brokers: usize,
    /// The largest batch it takes, in bytes.
    pub max_message_bytes: usize,
    /// How many copies a message has before it is acknowledged, at least.
    pub min_in_sync: usize,
    /// How old its messages get, where they go by age.
    pub keeps_for: Option<Duration>,
}

/// How a topic is spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) partitions: i32,
    pub(super) replication: usize,
    pub(super) brokers: usize,
}

impl Topic {
    pub(super) fn of(name: &str, shape: Shape, settings: &ConfigResource) -> Result<Self, Error> {
        let Shape { partitions, replication, brokers } = shape;
        // An answer without entries is how a missing permission shows.
        let max_message_bytes = number(settings, "max.message.bytes").ok_or_else(|| {
            let mend = "grant DescribeConfigs on the topic";
            Error::new(ErrorKind::Denied, format!("kafka: may not read max.message.bytes of topic {name:?}; {mend}"))
        })?;
        let min_in_sync = number(settings, "min.insync.replicas").unwrap_or(1);
        Ok(Self { partitions, replication, brokers, max_message_bytes, min_in_sync, keeps_for: age(settings) })
    }
}

/// What is set, as the brokers write it.
pub(super) fn setting<'a>(settings: &'a ConfigResource, name: &str) -> Option<&'a str> {
    settings.get(name)?.value.as_deref()
}

fn number(settings: &ConfigResource, name: &str) -> Option<usize> {
    setting(settings, name)?.parse().ok()
}

/// How old messages get; `None` where they do not go by age.
fn age(settings: &ConfigResource) -> Option<Duration> {
    let goes_by_age = setting(settings, "cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    // -1 is for ever, and no number here.
    let milliseconds = setting(settings, "retention.ms")?.parse().ok()?;
    goes_by_age.then_some(Duration::from_millis(milliseconds))
}
