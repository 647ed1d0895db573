//! Checks of Kafka: the brokers, and the topics.

use sync_core::adapter::kafka::{TopicReport, TopicState};
use sync_core::{Error, ErrorKind};

use super::finding::Finding;
use crate::config::Config;
use crate::wire::Wire;

/// The brokers, then each topic.
pub(super) async fn check(config: &Config, wire: &Wire<'_>) -> Vec<Finding> {
    let brokers = config.kafka.brokers.join(", ");
    match wire.topics().await {
        Ok(topics) => {
            let found = Finding::ok("kafka", "brokers", format!("{brokers} answer and let us in"));
            [found].into_iter().chain(topics.iter().map(|topic| judge(topic, config))).collect()
        }
        Err(error) => vec![Finding::failed("kafka", "brokers", &error)],
    }
}

fn judge(report: &TopicReport, config: &Config) -> Finding {
    let topic = &report.topic;
    match report.state {
        TopicState::Present { partitions, replication, max_message_bytes } => {
            let found =
                format!("{topic}: {partitions} partitions, {replication} copies, {max_message_bytes} B a batch");
            Finding::ok("kafka", "topic", found)
        }
        TopicState::Creatable => {
            let found = format!("{topic}: will be created with {} partitions", config.kafka.topics.partitions);
            Finding::ok("kafka", "topic", found)
        }
        TopicState::Missing => {
            let what = format!("kafka.topics.create: topic {topic} does not exist; create it, or set this to true");
            Finding::failed("kafka", "topic", &Error::new(ErrorKind::Configuration, what))
        }
    }
}
