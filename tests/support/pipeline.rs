//! The whole way on real servers, inside the test's own process.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join3, try_join_all};
use sync_core::adapter::SystemClock;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::elasticsearch::ElasticsearchSink;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::adapter::postgres::{PostgresDeadLetters, PostgresProjection, PostgresSource, SourceConfig};
use sync_core::event::Encoding;
use sync_core::indexer::{Indexer, IndexerConfig, IndexerProgress, Parking};
use sync_core::policy::{RetryPolicy, retry_topic};
use sync_core::port::{DeadLetters, KeptLetter, LetterSelection, Publisher, Source, Subscriber};
use sync_core::relay::{Relay, RelayConfig, RelayProgress};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::domain::{Domain, PROJECTION};
use super::postgres::database;
use super::servers;

/// How long a test may take, at scale 1.
const BOUND: Duration = Duration::from_secs(300);

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Kafka,
    Direct,
}

/// Makes publishing ends: each wants one caller at a time.
type Publishers = Box<dyn Fn() -> Arc<dyn Publisher>>;

/// A pipeline that is not running.
pub struct Pipeline {
    domain: Domain,
    way: Way,
    pub retries: RetryPolicy,
    pub encoding: Encoding,
}

impl Deref for Pipeline {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        &self.domain
    }
}

/// What is left of a run.
pub struct Ran {
    pub relay: RelayProgress,
    /// Of the indexer that reads the topic itself.
    pub indexer: IndexerProgress,
}

impl Pipeline {
    pub async fn new(way: Way) -> Self {
        Self::projecting(way, PROJECTION).await
    }

    /// With another projection than the reference domain's.
    pub async fn projecting(way: Way, sql: &str) -> Self {
        Self {
            domain: Domain::projecting(sql).await,
            way,
            retries: RetryPolicy::default(),
            encoding: Encoding::Standard,
        }
    }

    /// Has its documents in the index of another cluster from now on.
    pub fn index_at(&mut self, url: String) {
        self.domain.index_at(url);
    }

    pub fn kafka(&self) -> KafkaConfig {
        let topics = TopicConfig::default().partitions(4);
        KafkaConfig::new(servers::kafka()).topics(topics)
    }

    pub fn source(&self) -> Arc<dyn Source> {
        let config = SourceConfig::default().holder(servers::unique("relay"));
        Arc::new(PostgresSource::new(database(&self.url), config))
    }

    /// What makes publishing ends, and the consuming ends: of the topic itself, and of those in which what failed
    /// waits.
    fn ends(&self) -> (Publishers, Vec<Arc<dyn Subscriber>>) {
        let delays = self.retries.delays();
        let retries = delays.into_iter().map(|delay| retry_topic(&self.topic, delay));
        let topics: Vec<_> = std::iter::once(self.topic.clone()).chain(retries).collect();
        match self.way {
            Way::Kafka => {
                let config = self.kafka();
                let subscriber = |topic: &String| -> Arc<dyn Subscriber> {
                    Arc::new(KafkaSubscriber::new(&config, topic, topic, None).unwrap())
                };
                let subscribers = topics.iter().map(subscriber).collect();
                (Box::new(move || Arc::new(KafkaPublisher::new(&config).unwrap())), subscribers)
            }
            Way::Direct => {
                let bus = DirectBus::new(topics.iter().map(String::as_str), 10_000, 4);
                let subscriber = |topic: &String| -> Arc<dyn Subscriber> { Arc::new(bus.subscriber(topic).unwrap()) };
                let subscribers = topics.iter().map(subscriber).collect();
                (Box::new(move || Arc::new(bus.clone())), subscribers)
            }
        }
    }

    /// All dead letters.
    pub async fn dead_letters(&self) -> Vec<KeptLetter> {
        self.letters().list(&LetterSelection::default(), 0, 10_000).await.unwrap()
    }

    pub fn letters(&self) -> PostgresDeadLetters {
        PostgresDeadLetters::new(database(&self.url))
    }

    /// Runs relay and indexers beside `work`, and stops them when it is done.
    pub async fn beside(&self, work: impl AsyncFnOnce(&Ran)) -> Ran {
        let (publisher, subscribers) = self.ends();
        let config = RelayConfig::default().encoding(self.encoding.clone());
        let relay = Relay::builder("search", self.source(), publisher()).config(config).build();
        let config = IndexerConfig::default().retries(self.retries);
        let indexers = subscribers.into_iter().map(|subscriber| {
            let projection = Arc::<PostgresProjection>::clone(&self.projection);
            let sink = Arc::<ElasticsearchSink>::clone(&self.sink);
            let parking = Parking::new("jobs", &self.topic, Arc::new(self.letters()), Arc::new(SystemClock));
            let parking = parking.with_bus(publisher(), matches!(self.way, Way::Kafka));
            Indexer::builder(subscriber, projection, sink, parking).config(config).build()
        });
        let indexers: Vec<_> = indexers.collect();
        let ran = Ran { relay: relay.progress(), indexer: indexers[0].progress() };
        let shutdown = CancellationToken::new();
        let work = async {
            work(&ran).await;
            shutdown.cancel();
        };
        let indexing = indexers.iter().map(|indexer| indexer.run(shutdown.clone()));
        let all = join3(relay.run(shutdown.clone()), try_join_all(indexing), work);
        let (relayed, indexed, ()) = timeout(BOUND, all).await.expect("what the test waits for comes");
        relayed.expect("the relay ended in order");
        indexed.expect("the indexers ended in order");
        ran
    }
}
