//! The testkit's notes in an index and in a table, each with what searches it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use sync_core::Version;
use sync_core::adapter::elasticsearch::{
    ElasticsearchConfig, ElasticsearchSearcher, ElasticsearchSearcherConfig, ElasticsearchSink, IndexConfig,
};
use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalSearcher, LocalSink};
use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcher, PostgresSearcherConfig};
use sync_core::port::{Outcome, Searcher, Sink, Write};
use sync_core::testkit::conformance::SearcherHarness;
use sync_core::testkit::{
    ElasticsearchScratch, SEARCHED_MAPPING, SEARCHED_PROJECTION, SEARCHED_TABLE, searched_fields,
};
use tempfile::TempDir;
use tokio_postgres::Client;

use super::postgres::fresh_outbox;

/// In Elasticsearch.
pub struct Index {
    scratch: ElasticsearchScratch,
    sink: ElasticsearchSink,
    searcher: ElasticsearchSearcher,
    written: Written,
}

impl Index {
    /// On the server for tests.
    pub async fn new() -> Self {
        Self::at(ElasticsearchScratch::new()).await
    }

    /// On another one.
    pub async fn at(scratch: ElasticsearchScratch) -> Self {
        let cluster = ElasticsearchConfig::new([scratch.url()]);
        let alias = scratch.name("notes");
        let index = IndexConfig::new("jobs", SEARCHED_MAPPING).alias(&alias);
        let sink = ElasticsearchSink::new(&cluster, index).unwrap();
        sink.prepare().await.unwrap();
        let searcher = searcher(vec![scratch.url()], alias, Duration::from_secs(10), Duration::from_secs(5));
        Self { scratch, sink, searcher, written: Written::default() }
    }

    /// What searches it by way of these addresses.
    pub fn searched_at(&self, urls: Vec<String>, budget: Duration, attempt: Duration) -> ElasticsearchSearcher {
        searcher(urls, self.scratch.name("notes"), budget, attempt)
    }

    async fn write(&self, documents: Vec<(String, Option<String>)>) {
        self.written.write(&self.sink, documents).await;
        let (status, _) = self.scratch.request("POST", &format!("/{}/_refresh", self.scratch.name("notes")), "");
        assert_eq!(status, 200);
    }
}

fn searcher(urls: Vec<String>, alias: String, budget: Duration, attempt: Duration) -> ElasticsearchSearcher {
    let cluster = ElasticsearchConfig::new(urls);
    ElasticsearchSearcher::new(
        &cluster,
        ElasticsearchSearcherConfig::new(alias).budget(budget).attempt(attempt),
        searched_fields(),
    )
    .unwrap()
}

/// In a directory of this machine.
pub struct Directory {
    _files: TempDir,
    sink: LocalSink,
    searcher: LocalSearcher,
    written: Written,
}

impl Directory {
    /// Of its own.
    pub async fn new() -> Self {
        let files = TempDir::new().unwrap();
        let indexes = LocalDirectory::new(files.path());
        let config = LocalIndexConfig::new("jobs", SEARCHED_MAPPING).alias("notes");
        let sink = LocalSink::new(&indexes, config.clone()).unwrap();
        sink.prepare().await.unwrap();
        let searcher = LocalSearcher::new(&indexes, config, searched_fields()).unwrap();
        Self { _files: files, sink, searcher, written: Written::default() }
    }
}

#[async_trait]
impl SearcherHarness for Directory {
    fn searcher(&self) -> &dyn Searcher {
        &self.searcher
    }

    async fn put(&self, documents: &[Json]) {
        self.written.write(&self.sink, keyed(documents)).await;
    }

    async fn delete(&self, key: &str) {
        self.written.write(&self.sink, vec![(key.to_owned(), None)]).await;
    }

    async fn put_unseen(&self, _: &Json) -> bool {
        false
    }

    async fn version(&self, key: &str) -> Version {
        self.written.version(key)
    }
}

/// What is searched of the notes, made by a projection.
pub fn searched(sql: &str, max_lag: Duration) -> PostgresSearcherConfig {
    PostgresSearcherConfig::new("notes", "notes", sql).max_lag(max_lag)
}

/// Writes documents under versions of its own, each higher than the one before.
#[derive(Default)]
pub struct Written {
    last: Mutex<(i64, HashMap<String, Version>)>,
}

impl Written {
    /// Writes documents, deletes keys without one.
    pub async fn write(&self, sink: &dyn Sink, documents: Vec<(String, Option<String>)>) {
        let write = |(key, document): (String, Option<String>)| {
            let (number, versions) = &mut *self.last.lock().unwrap();
            *number += 1;
            let version = Version::new(3, *number).unwrap();
            versions.insert(key.clone(), version);
            Write { key, version, document }
        };
        let writes: Vec<_> = documents.into_iter().map(write).collect();
        let outcomes = sink.apply(&writes).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied)), "{outcomes:?}");
    }

    /// The version of the last write of this key.
    pub fn version(&self, key: &str) -> Version {
        self.last.lock().unwrap().1[key]
    }
}

/// Documents under their keys.
pub fn keyed(documents: &[Json]) -> Vec<(String, Option<String>)> {
    let key = |document: &Json| document["id"].as_str().unwrap().to_owned();
    documents.iter().map(|document| (key(document), Some(document.to_string()))).collect()
}

#[async_trait]
impl SearcherHarness for Index {
    fn searcher(&self) -> &dyn Searcher {
        &self.searcher
    }

    async fn put(&self, documents: &[Json]) {
        self.write(keyed(documents)).await;
    }

    async fn delete(&self, key: &str) {
        self.write(vec![(key.to_owned(), None)]).await;
    }

    async fn put_unseen(&self, document: &Json) -> bool {
        self.written.write(&self.sink, keyed(std::slice::from_ref(document))).await;
        true
    }

    async fn version(&self, key: &str) -> Version {
        self.written.version(key)
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
        let database = PostgresConfig::new(&url);
        let config = searched(SEARCHED_PROJECTION, Duration::from_secs(30));
        let searcher = PostgresSearcher::new(&database, &[], &config, searched_fields()).unwrap();
        Self { client, url, searcher }
    }
}

#[async_trait]
impl SearcherHarness for Table {
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

    async fn put_unseen(&self, _: &Json) -> bool {
        false
    }

    async fn version(&self, key: &str) -> Version {
        let sql = "select version from outbox.versions where topic = 'notes' and key = $1";
        Version::new(0, self.client.query_one(sql, &[&key]).await.unwrap().get(0)).unwrap()
    }
}
