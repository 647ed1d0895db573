//! The reference domain in a database of its own, with a topic and an index of its own.

use std::sync::Arc;
use std::time::Duration;

use sync_core::Remedy;
use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::adapter::postgres::{PostgresProjection, ProjectionConfig, SyncedAt};
use sync_core::repair::{Comparison, compare};
use sync_core::testkit::ElasticsearchScratch;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::postgres::{connect, database, fresh_outbox};
use super::servers;

const SCHEMA: &str = include_str!("../../examples/jobs/schema.sql");

/// What the documents of the reference domain are made of.
pub const PROJECTION: &str = include_str!("../../examples/jobs/projection.sql");

/// What the reference index looks like.
pub const MAPPING: &str = include_str!("../../examples/jobs/mapping.json");

/// How long an index may take to become equal, at scale 1.
const BOUND: Duration = Duration::from_secs(120);

/// Jobs and workspaces, watched; nothing reads their outbox yet.
pub struct Domain {
    pub client: Client,
    pub url: String,
    pub topic: String,
    /// The name the index is searched by.
    pub alias: String,
    pub projection: Arc<PostgresProjection>,
    pub sink: Arc<ElasticsearchSink>,
    _elasticsearch: ElasticsearchScratch,
}

fn projection(url: &str, topic: &str, sql: &str) -> Arc<PostgresProjection> {
    let config = ProjectionConfig::new("jobs", topic, sql).synced_at(SyncedAt::new("jobs", "id", "es_synced_at"));
    Arc::new(PostgresProjection::new(database(url), config))
}

fn sink(url: String, alias: &str) -> Arc<ElasticsearchSink> {
    let cluster = ElasticsearchConfig::new([url]);
    let index = IndexConfig::new("jobs", MAPPING).alias(alias);
    Arc::new(ElasticsearchSink::new(&cluster, index).expect("the reference mapping is valid"))
}

impl Domain {
    /// With documents made by `sql`.
    pub async fn projecting(sql: &str) -> Self {
        let (client, url) = fresh_outbox().await;
        Self::at(client, url, sql).await
    }

    /// In a database that has an outbox.
    pub async fn at(client: Client, url: String, sql: &str) -> Self {
        let topic = servers::unique("jobs");
        client.batch_execute(&SCHEMA.replace("job-es-sync", &topic)).await.expect("the reference domain applies");
        let projection = projection(&url, &topic, sql);
        let elasticsearch = ElasticsearchScratch::new();
        let alias = elasticsearch.name("jobs");
        let sink = sink(servers::elasticsearch(), &alias);
        Self { client, url, topic, alias, projection, sink, _elasticsearch: elasticsearch }
    }

    /// Looks from now on at a copy of the database: another server has taken its place.
    pub async fn follow(&mut self, url: String) {
        self.client = connect(&url).await;
        self.projection = projection(&url, &self.topic, PROJECTION);
        self.url = url;
    }

    /// Has its documents in the index of another cluster from now on.
    pub fn index_at(&mut self, url: String) {
        self.sink = sink(url, &self.alias);
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
        let bound = BOUND * u32::try_from(servers::scale()).unwrap();
        match timeout(bound, equal).await {
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
