//! Whether the bus would work, before it has to.

use std::time::Duration;

use super::client::off_thread;
use super::config::KafkaConfig;
use super::producing::KnownTopics;
use super::topic::Topic;
use super::topics;
use super::transactor::{TransactionalProducer, TransactorConfig};
use crate::error::Error;
use crate::policy::retry_delay;

/// Somebody is waiting for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// Whether it is there.
    pub state: TopicState,
}

/// Whether a topic is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicState {
    /// It is.
    Present(Topic),
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
    let report = |(topic, found): (String, Option<Topic>)| {
        let state = match found {
            Some(topic) => TopicState::Present(topic),
            None if config.topics.create => TopicState::Creatable,
            None => TopicState::Missing,
        };
        TopicReport { topic, state }
    };
    Ok(found.into_iter().map(report).collect())
}

/// The retry topics of `topic` that are there, whatever delays are configured now: messages may wait in one that was
/// used with other settings. Those that may not be seen are left out.
///
/// # Errors
/// `Denied`, `Configuration`, `Unavailable`.
pub async fn retry_topics(config: &KafkaConfig, topic: &str) -> Result<Vec<String>, Error> {
    let mut names = topics::names(config, PATIENCE).await?;
    names.retain(|name| retry_delay(topic, name).is_some());
    names.sort();
    Ok(names)
}

/// What is known of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionReport {
    /// The transactional id that was tried.
    pub id: String,
    /// Whether the topic of the positions is there; the brokers would create it otherwise.
    pub has_positions: bool,
}

/// Looks the topic of the positions up and has the brokers give out a producer under a transactional id of its own in
/// the namespace, in some ten seconds at most. No relay is shut out by it. It says nothing about permissions that are
/// given to single ids.
///
/// # Errors
/// `Configuration` when the topic is missing and may not be created, or forgets by age, or the brokers have no
/// transactions; `Denied`; `Unavailable`.
pub async fn check_transactions(config: &KafkaConfig, names: &TransactorConfig) -> Result<TransactionReport, Error> {
    let has_positions = topics::inspect_compacted(config, names.positions.clone(), PATIENCE).await?;
    let (config, id) = (config.clone(), names.id("check"));
    let tried = id.clone();
    let limits = KnownTopics::default().limits();
    off_thread(move |asker| TransactionalProducer::begin(&config, limits, &tried, PATIENCE, asker).map(drop)).await?;
    Ok(TransactionReport { id, has_positions })
}
