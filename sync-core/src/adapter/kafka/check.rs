//! Whether the bus would work, before it has to.

use std::time::Duration;

use super::config::KafkaConfig;
use super::topics;
use crate::error::Error;

/// Somebody is waiting for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// Whether it is there.
    pub state: TopicState,
}

/// Whether a topic is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// It is.
    Present {
        /// How many partitions it has.
        partitions: i32,
        /// The copies of its least copied partition.
        replication: usize,
        /// The largest batch it takes, in bytes.
        max_message_bytes: usize,
    },
    /// It is not; it may be created, and the brokers said they would.
    Creatable,
    /// It is not, and may not be created (`kafka.topics.create`).
    Missing,
}

/// Connects, authenticates, and looks the topics up, in about five seconds at most. Changes nothing. One report for
/// each topic, by name.
///
/// # Errors
/// `Configuration` naming the setting; `Denied` when the credentials are refused or a permission is missing;
/// `Unavailable` when no broker answers.
pub async fn check(config: &KafkaConfig, topics: &[String]) -> Result<Vec<TopicReport>, Error> {
    let found = topics::inspect(config, topics.to_vec(), PATIENCE).await?;
    let report = |(topic, found): (String, Option<topics::Topic>)| {
        let state = match found {
            Some(topics::Topic { partitions, replication, max_message_bytes }) => {
                TopicState::Present { partitions, replication, max_message_bytes }
            }
            None if config.topics.create => TopicState::Creatable,
            None => TopicState::Missing,
        };
        TopicReport { topic, state }
    };
    Ok(found.into_iter().map(report).collect())
}
