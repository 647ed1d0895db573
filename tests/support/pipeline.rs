//! The whole way on real servers, inside the test's own process.

use std::ops::Deref;
use std::sync::Arc;

use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::elasticsearch::ElasticsearchSink;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::adapter::postgres::{PostgresProjection, PostgresSource, SourceConfig};
use sync_core::indexer::{Indexer, IndexerConfig, IndexerProgress};
use sync_core::port::{Publisher, Source, Subscriber};
use sync_core::relay::{Relay, RelayConfig, RelayProgress};
use tokio_util::sync::CancellationToken;

use super::domain::{Domain, PROJECTION};
use super::postgres::database;
use super::servers;

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Kafka,
    Direct,
}

/// A pipeline that is not running.
pub struct Pipeline {
    domain: Domain,
    way: Way,
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
    pub indexer: IndexerProgress,
}

impl Pipeline {
    pub async fn new(way: Way) -> Self {
        Self::projecting(way, PROJECTION).await
    }

    /// With another projection than the reference domain's.
    pub async fn projecting(way: Way, sql: &str) -> Self {
        Self { domain: Domain::projecting(sql).await, way }
    }

    pub fn kafka(&self) -> KafkaConfig {
        let topics = TopicConfig { partitions: 4, ..TopicConfig::default() };
        KafkaConfig { brokers: servers::kafka(), topics, ..KafkaConfig::default() }
    }

    pub fn source(&self) -> Arc<dyn Source> {
        let config = SourceConfig { holder: servers::unique("relay"), ..SourceConfig::default() };
        Arc::new(PostgresSource::new(database(&self.url), config))
    }

    fn ends(&self) -> (Arc<dyn Publisher>, Arc<dyn Subscriber>) {
        match self.way {
            Way::Kafka => {
                let config = self.kafka();
                let subscriber = KafkaSubscriber::new(&config, &self.topic, &self.topic, None).unwrap();
                (Arc::new(KafkaPublisher::new(&config).unwrap()), Arc::new(subscriber))
            }
            Way::Direct => {
                let bus = DirectBus::new([self.topic.as_str()], 10_000, 4);
                let subscriber = bus.subscriber(&self.topic).unwrap();
                (Arc::new(bus), Arc::new(subscriber))
            }
        }
    }

    /// Runs relay and indexer beside `work`, and stops them when it is done.
    pub async fn beside(&self, work: impl AsyncFnOnce(&Ran)) -> Ran {
        let (publisher, subscriber) = self.ends();
        let relay = Relay::new(self.source(), publisher, RelayConfig::default());
        let indexer = Indexer::new(
            subscriber,
            Arc::<PostgresProjection>::clone(&self.projection),
            Arc::<ElasticsearchSink>::clone(&self.sink),
            IndexerConfig::default(),
        );
        let ran = Ran { relay: relay.progress(), indexer: indexer.progress() };
        let shutdown = CancellationToken::new();
        let work = async {
            work(&ran).await;
            shutdown.cancel();
        };
        let (relayed, indexed, ()) = tokio::join!(relay.run(shutdown.clone()), indexer.run(shutdown.clone()), work);
        relayed.expect("the relay ended in order");
        indexed.expect("the indexer ended in order");
        ran
    }
}
