//! The testkit's notes in an index and in a table, each with what searches it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use sync_core::Version;
use sync_core::adapter::elasticsearch::{
    ElasticsearchConfig, ElasticsearchSearcher, ElasticsearchSink, IndexConfig, SearcherConfig,
};
use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcher, SearchedConfig};
use sync_core::port::{Inventory, Outcome, Searcher, Sink, Write};
use sync_core::testkit::conformance::Searched;
use sync_core::testkit::{
    ElasticsearchScratch, SEARCHED_MAPPING, SEARCHED_PROJECTION, SEARCHED_TABLE, searched_fields,
};
use tokio_postgres::Client;

use super::postgres::fresh_outbox;

/// In Elasticsearch.
pub struct Index {
    scratch: ElasticsearchScratch,
    sink: ElasticsearchSink,
    searcher: ElasticsearchSearcher,
    versions: AtomicI64,
}

impl Index {
    /// On the server for tests.
    pub async fn new() -> Self {
        Self::at(ElasticsearchScratch::new()).await
    }

    /// On another one.
    pub async fn at(scratch: ElasticsearchScratch) -> Self {
        let cluster = ElasticsearchConfig { urls: vec![scratch.url()], ..ElasticsearchConfig::default() };
        let alias = scratch.name("notes");
        let index = IndexConfig { alias: alias.clone(), mapping: SEARCHED_MAPPING.to_owned() };
        let sink = ElasticsearchSink::new(&cluster, index).unwrap();
        sink.prepare().await.unwrap();
        let searcher = searcher(vec![scratch.url()], alias, Duration::from_secs(10), Duration::from_secs(5));
        Self { scratch, sink, searcher, versions: AtomicI64::new(1) }
    }

    /// What searches it by way of these addresses.
    pub fn searched_at(&self, urls: Vec<String>, budget: Duration, attempt: Duration) -> ElasticsearchSearcher {
        searcher(urls, self.scratch.name("notes"), budget, attempt)
    }

    async fn write(&self, documents: Vec<(String, Option<String>)>) {
        write(&self.sink, &self.versions, documents).await;
        let (status, _) = self.scratch.request("POST", &format!("/{}/_refresh", self.scratch.name("notes")), "");
        assert_eq!(status, 200);
    }
}

fn searcher(urls: Vec<String>, alias: String, budget: Duration, attempt: Duration) -> ElasticsearchSearcher {
    let cluster = ElasticsearchConfig { urls, ..ElasticsearchConfig::default() };
    ElasticsearchSearcher::new(&cluster, SearcherConfig { alias, budget, attempt }, searched_fields()).unwrap()
}

/// What is searched of the notes, made by a projection.
pub fn searched(sql: &str, max_lag: Duration) -> SearchedConfig {
    let [index, topic] = ["notes", "notes"].map(str::to_owned);
    SearchedConfig { index, topic, sql: sql.to_owned(), language: "simple".to_owned(), max_lag }
}

/// Writes documents, deletes keys without one.
pub async fn write(sink: &dyn Sink, versions: &AtomicI64, documents: Vec<(String, Option<String>)>) {
    let write = |(key, document)| {
        let version = Version::new(3, versions.fetch_add(1, Ordering::Relaxed)).unwrap();
        Write { key, version, document }
    };
    let outcomes = sink.apply(&documents.into_iter().map(write).collect::<Vec<_>>()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied)), "{outcomes:?}");
}

/// Documents under their keys.
pub fn keyed(documents: &[Json]) -> Vec<(String, Option<String>)> {
    let key = |document: &Json| document["id"].as_str().unwrap().to_owned();
    documents.iter().map(|document| (key(document), Some(document.to_string()))).collect()
}

/// The version of a key's document.
pub async fn version_in(sink: &dyn Inventory, key: &str) -> u64 {
    let found = sink.versions(&[key.to_owned()]).await.unwrap();
    // Of a key that is deleted, none is told; any is seen.
    found[0].map_or(1, Version::local)
}

#[async_trait]
impl Searched for Index {
    fn searcher(&self) -> &dyn Searcher {
        &self.searcher
    }

    async fn put(&self, documents: &[Json]) {
        self.write(keyed(documents)).await;
    }

    async fn delete(&self, key: &str) {
        self.write(vec![(key.to_owned(), None)]).await;
    }

    async fn version(&self, key: &str) -> u64 {
        version_in(&self.sink, key).await
    }
}

/// In PostgreSQL.
pub struct Table {
    pub client: Client,
    pub url: String,
    searcher: PostgresSearcher,
}

impl Table {
    /// In a database of its own.
    pub async fn new() -> Self {
        let (client, url) = fresh_outbox().await;
        Self::at(client, url).await
    }

    /// In a database that has an outbox.
    pub async fn at(client: Client, url: String) -> Self {
        client.batch_execute(SEARCHED_TABLE).await.unwrap();
        let database = PostgresConfig { url: url.clone(), ..PostgresConfig::default() };
        let config = searched(SEARCHED_PROJECTION, Duration::from_secs(30));
        let searcher = PostgresSearcher::new(&database, &[], &config, searched_fields()).unwrap();
        Self { client, url, searcher }
    }
}

#[async_trait]
impl Searched for Table {
    fn searcher(&self) -> &dyn Searcher {
        &self.searcher
    }

    async fn put(&self, documents: &[Json]) {
        let sql = "insert into notes
            select d->>'id', d->>'title', d->>'description', d->>'status', array(select jsonb_array_elements_text(d->'tags')),
                   (d->>'priority')::int, (d->>'score')::float8, (d->>'active')::boolean, (d->>'created_at')::timestamptz,
                   d->'workspace'->>'name'
              from jsonb_array_elements($1::jsonb) as d
            on conflict (id) do update set title = excluded.title, priority = excluded.priority";
        self.client.execute(sql, &[&Json::Array(documents.to_vec())]).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        self.client.execute("delete from notes where id = $1", &[&key]).await.unwrap();
    }

    async fn version(&self, key: &str) -> u64 {
        let sql = "select version from outbox.versions where topic = 'notes' and key = $1";
        self.client.query_one(sql, &[&key]).await.unwrap().get::<_, i64>(0).unsigned_abs()
    }
}
