//! The whole way on real servers: the reference domain in a database of its own, a topic and an index of its own.

use std::sync::Arc;
use std::time::Duration;

use sync_core::Remedy;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::adapter::postgres::{PostgresProjection, PostgresSource, ProjectionConfig, SourceConfig, SyncedAt};
use sync_core::indexer::{Indexer, IndexerConfig, IndexerProgress};
use sync_core::port::{Publisher, Source, Subscriber};
use sync_core::relay::{Relay, RelayConfig, RelayProgress};
use sync_core::repair::{Comparison, compare};
use sync_core::testkit::ElasticsearchScratch;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::postgres::{database, fresh_outbox};
use super::servers;

const SCHEMA: &str = include_str!("../../examples/jobs/schema.sql");
const PROJECTION: &str = include_str!("../../examples/jobs/projection.sql");
const MAPPING: &str = include_str!("../../examples/jobs/mapping.json");
const BOUND: Duration = Duration::from_secs(120);

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Kafka,
    Direct,
}

/// A pipeline that is not running.
pub struct Pipeline {
    pub client: Client,
    pub url: String,
    pub topic: String,
    pub projection: Arc<PostgresProjection>,
    pub sink: Arc<ElasticsearchSink>,
    _elasticsearch: ElasticsearchScratch,
    way: Way,
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
        let (client, url) = fresh_outbox().await;
        let topic = servers::unique("jobs");
        client.batch_execute(&SCHEMA.replace("job-es-sync", &topic)).await.expect("the reference domain applies");
        let projection = ProjectionConfig {
            index: "jobs".to_owned(),
            topic: topic.clone(),
            sql: sql.to_owned(),
            synced_at: Some(SyncedAt {
                table: "jobs".to_owned(),
                key: "id".to_owned(),
                column: "es_synced_at".to_owned(),
            }),
        };
        let projection = Arc::new(PostgresProjection::new(database(&url), projection));
        let cluster = ElasticsearchConfig { urls: vec![servers::elasticsearch()], ..ElasticsearchConfig::default() };
        let elasticsearch = ElasticsearchScratch::new();
        let index = IndexConfig { alias: elasticsearch.name("jobs"), mapping: MAPPING.to_owned() };
        let sink = Arc::new(ElasticsearchSink::new(&cluster, index).expect("the reference mapping is valid"));
        Self { client, url, topic, projection, sink, _elasticsearch: elasticsearch, way }
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
        let (relayed, indexed, ()) =
            tokio::join!(relay.run(shutdown.clone()), indexer.run(shutdown.clone()), work);
        relayed.expect("the relay ended in order");
        indexed.expect("the indexer ended in order");
        ran
    }

    pub async fn compare(&self) -> Comparison {
        compare(&*self.projection, &*self.sink).await.expect("both sides are up")
    }

    /// Waits until the index holds exactly what the database holds.
    pub async fn until_equal(&self) -> Comparison {
        let equal = async {
            loop {
                match compare(&*self.projection, &*self.sink).await {
                    Ok(comparison) if comparison.is_equal() => return comparison,
                    // An index that was made a moment ago may not be ready to be read.
                    Err(error) if error.remedy() != Remedy::Retry => panic!("{error}"),
                    Ok(_) | Err(_) => {}
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        match timeout(BOUND, equal).await {
            Ok(comparison) => comparison,
            Err(_) => panic!("the index never became equal: {:?}", self.compare().await),
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}
