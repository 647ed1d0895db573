//! Checks of Kafka: the brokers, the topics, and transactions where they are used.

use sync_core::adapter::kafka::{TopicReport, TopicState};
use sync_core::{Error, ErrorKind};

use super::finding::Finding;
use crate::config::{Config, Delivery};
use crate::wire::Wire;

/// The brokers, then each topic, then transactions.
pub(super) async fn check(config: &Config, wire: &Wire<'_>) -> Vec<Finding> {
    let brokers = config.kafka.brokers.join(", ");
    match wire.topics().await {
        Ok(topics) => {
            let found = Finding::ok("kafka", "brokers", format!("{brokers} answer and let us in"));
            let found = [found].into_iter().chain(topics.iter().map(|topic| judge(topic, config)));
            let transactions = match config.relay.delivery {
                Delivery::AtLeastOnce => None,
                Delivery::ExactlyOnce => Some(transactions(config, wire).await),
            };
            found.chain(transactions).collect()
        }
        Err(error) => vec![Finding::failed("kafka", "brokers", &error)],
    }
}

async fn transactions(config: &Config, wire: &Wire<'_>) -> Finding {
    match wire.transactions().await {
        Ok(report) => {
            let positions = &config.relay.positions_topic;
            let topic = if report.has_positions { "is there" } else { "will be created" };
            let found = format!("the brokers take transactional id {:?}; topic {positions} {topic}", report.id);
            Finding::ok("kafka", "transactions", found)
        }
        Err(error) => Finding::failed("kafka", "transactions", &error),
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
