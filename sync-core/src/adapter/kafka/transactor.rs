//! Writing to topics in transactions that hold the relay's position too.

mod marks;
mod producer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};

pub(super) use self::producer::TransactionalProducer;
use super::client::off_thread;
use super::config::{KafkaConfig, POSITIONS};
use super::producing::{KnownTopics, Limits, PATIENCE};
use super::topics;
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{Mark, Transactions, Transactor};

/// Under what names a [`KafkaTransactor`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactorConfig {
    /// The beginning of every transactional id and of every position's key; `sync` unless said. Two deployments whose
    /// databases are copies of each other need two of them, or one would shut out the other.
    pub namespace: String,
    /// The compacted topic of the positions, of one partition; `sync-relay-positions` unless said.
    pub positions: String,
}

impl Default for TransactorConfig {
    fn default() -> Self {
        Self { namespace: "sync".to_owned(), positions: POSITIONS.to_owned() }
    }
}

setters! {
    TransactorConfig {
        namespace: into String,
        positions: into String,
    }
}

impl TransactorConfig {
    /// The transactional id of a name, and the key of its position.
    pub(super) fn id(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }
}

/// Writes to a Kafka cluster in transactions. For consumers with `isolation.level=read_committed`, which is not every
/// client's default.
///
/// Keys are where Java's clients put them, and every message is acknowledged by all in-sync replicas. An outage longer
/// than `transaction.timeout.ms` (a minute unless `kafka.properties` says otherwise) fails the transaction: nothing of
/// it is ever seen.
#[derive(Debug)]
pub struct KafkaTransactor {
    config: KafkaConfig,
    names: TransactorConfig,
    topics: Arc<Mutex<KnownTopics>>,
}

impl KafkaTransactor {
    /// A transactor that has not connected yet.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub fn new(config: &KafkaConfig, names: TransactorConfig) -> Result<Self, Error> {
        config.client()?;
        let mut config = config.clone();
        config.reserved_topics.push(names.positions.clone());
        Ok(Self { config, names, topics: Arc::default() })
    }
}

#[async_trait]
impl Transactor for KafkaTransactor {
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error> {
        topics::ensure_compacted(&self.config, self.names.positions.clone(), PATIENCE).await?;
        let limits = self.topics.lock().await.limits();
        let (config, id) = (self.config.clone(), self.names.id(name));
        let producer = off_thread({
            let id = id.clone();
            move |asker| TransactionalProducer::begin(&config, limits, &id, PATIENCE, asker)
        });
        Ok(Box::new(KafkaTransactions {
            config: self.config.clone(),
            positions: self.names.positions.clone(),
            topics: Arc::clone(&self.topics),
            producer: Arc::new(producer.await?),
            limits,
            id,
        }))
    }
}

/// How long reading the positions may take: a publisher of another name may have died in a transaction, which the
/// brokers end after a minute at most unless it was set otherwise.
const READING: Duration = Duration::from_secs(90);

struct KafkaTransactions {
    config: KafkaConfig,
    positions: String,
    topics: Arc<Mutex<KnownTopics>>,
    producer: Arc<TransactionalProducer>,
    limits: Limits,
    id: String,
}

impl fmt::Debug for KafkaTransactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransactions").field("id", &self.id).finish_non_exhaustive()
    }
}

impl KafkaTransactions {
    /// Knows the topics of these messages, and that the producer fits them.
    async fn topics(&self, messages: &[Outgoing]) -> Result<MutexGuard<'_, KnownTopics>, Error> {
        let mut topics = self.topics.lock().await;
        topics.learn(&self.config, messages).await?;
        if topics.limits() == self.limits {
            return Ok(topics);
        }
        // A producer of other limits would shut out whoever took over meanwhile, so it takes the whole way again.
        Err(Error::new(ErrorKind::Unavailable, "kafka: a topic has another max.message.bytes; beginning with it anew"))
    }
}

#[async_trait]
impl Transactions for KafkaTransactions {
    async fn mark(&mut self) -> Result<Option<Mark>, Error> {
        let (config, positions, id) = (self.config.clone(), self.positions.clone(), self.id.clone());
        off_thread(move |asker| marks::newest(&config, &positions, &id, READING, asker)).await
    }

    async fn refusals(&mut self, messages: &[Outgoing]) -> Result<Vec<(usize, Error)>, Error> {
        Ok(self.topics(messages).await?.refusals(messages).collect())
    }

    async fn publish(&mut self, messages: Vec<Outgoing>, mark: &Mark) -> Result<(), Error> {
        self.topics(&messages).await?.admit(&messages)?;
        let record = marks::record(&self.positions, &self.id, mark)?;
        let producer = Arc::clone(&self.producer);
        let published = off_thread(move |asker| producer.publish(&messages, &record, asker)).await;
        if published.is_err() {
            // Topics may have changed: that may be why it failed.
            *self.topics.lock().await = KnownTopics::default();
        }
        published
    }
}
