//! Checks of Kafka: the brokers, the topics, and transactions where they are used.

use sync_core::adapter::kafka::{Topic, TopicReport, TopicState};
use sync_core::policy::holds_failures_of;
use sync_core::{Error, ErrorKind};

use super::finding::Finding;
use crate::cli::RoleName;
use crate::config::{Config, Delivery, show_duration};
use crate::render;
use crate::wire::Wire;

/// The brokers, then each topic, then the transactions of a relay.
pub(super) async fn check(config: &Config, wire: &Wire<'_>, roles: &[RoleName]) -> Vec<Finding> {
    let brokers = config.kafka.brokers.join(", ");
    match wire.topics(roles.contains(&RoleName::Indexer)).await {
        Ok(topics) => {
            let found = Finding::ok("kafka", "brokers", format!("{brokers} answer and let us in"));
            let told = topics.iter().filter(|topic| is_told(topic, config)).map(|topic| judge(topic, config));
            let found = [found].into_iter().chain(told);
            let transactions = match config.relay.delivery {
                Delivery::AtLeastOnce => None,
                Delivery::ExactlyOnce if roles.contains(&RoleName::Relay) => Some(transactions(config, wire).await),
                Delivery::ExactlyOnce => None,
            };
            found.chain(transactions).collect()
        }
        Err(error) => vec![Finding::failed("kafka", "brokers", &error)],
    }
}

/// Topics in which what failed goes are told of only when they are missing.
fn is_told(report: &TopicReport, config: &Config) -> bool {
    let is_of_failures = config.indexes.values().any(|index| holds_failures_of(&index.topic, &report.topic));
    !is_of_failures || report.state == TopicState::Missing
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
        TopicState::Present(found) => of_present(topic, &found, config),
        TopicState::Creatable => {
            let found = format!("{topic}: will be created with {} partitions", config.kafka.topics.partitions);
            Finding::ok("kafka", "topic", found)
        }
        TopicState::Missing => {
            let what = format!("kafka.topics.create: topic {topic} does not exist; create it, or set this to true");
            Finding::failed("kafka", "topic", &Error::new(ErrorKind::Configuration, what))
        }
        _ => {
            Finding::warning("kafka", "topic", format!("{topic}: this program does not know what to make of its state"))
        }
    }
}

/// Copies from which on the loss of a broker is nothing that has to be mended at once.
const ENOUGH_COPIES: usize = 3;

fn of_present(name: &str, topic: &Topic, config: &Config) -> Finding {
    let Topic { partitions, replication, brokers, max_message_bytes, min_in_sync, keeps_for } = *topic;
    let mut found = format!(
        "{name}: {}, {}, {max_message_bytes} B a batch",
        render::counted(partitions.unsigned_abs(), "partition"),
        if replication == 1 { "1 copy".to_owned() } else { format!("{replication} copies") }
    );
    let mut risks = Vec::new();
    if replication < brokers.min(ENOUGH_COPIES) {
        risks.push(format!(
            "fewer copies than the {brokers} brokers could hold: what a lost broker alone had is gone from the topic; reassign \
             its partitions (kafka-reassign-partitions)"
        ));
    }
    if replication >= ENOUGH_COPIES && min_in_sync < 2 {
        risks.push(format!(
            "a message counts as stored once {min_in_sync} broker has it; set min.insync.replicas of the topic to 2"
        ));
    }
    let outbox = config.relay.retention;
    if let Some(kept) = keeps_for.filter(|kept| *kept < outbox) {
        risks.push(format!(
            "a message goes when it is {} old, read or not: sooner than from the outbox (relay.retention, {}); set retention.ms \
             of the topic to -1, or to more than it may take to mend a partition that has stopped",
            show_duration(kept),
            show_duration(outbox)
        ));
    }
    if risks.is_empty() {
        return Finding::ok("kafka", "topic", found);
    }
    found.extend(risks.iter().flat_map(|risk| ["; ", risk]));
    Finding::warning("kafka", "topic", found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_topic_that_may_lose_messages_is_told_with_the_setting_that_mends_it() {
        let fine = Topic {
            partitions: 6,
            replication: 3,
            brokers: 5,
            max_message_bytes: 1_000,
            min_in_sync: 2,
            keeps_for: None,
        };
        let day = Some(Duration::from_secs(24 * 3_600));
        let month = Some(Duration::from_secs(30 * 24 * 3_600));
        for good in
            [fine, Topic { replication: 1, brokers: 1, min_in_sync: 1, ..fine }, Topic { keeps_for: month, ..fine }]
        {
            assert_eq!(of_present("jobs", &good, &Config::default()).verdict, Verdict::Ok, "{good:?}");
        }
        for (bad, told) in [
            (Topic { replication: 1, ..fine }, "kafka-reassign-partitions"),
            (Topic { replication: 2, brokers: 3, ..fine }, "fewer copies than the 3 brokers"),
            (Topic { min_in_sync: 1, ..fine }, "min.insync.replicas"),
            (Topic { keeps_for: day, ..fine }, "retention.ms"),
        ] {
            let finding = of_present("jobs", &bad, &Config::default());
            assert_eq!(finding.verdict, Verdict::Warning, "{bad:?}");
            assert!(finding.cells()[3].contains(told), "{finding:?}");
        }
    }
}
