//! Searching real servers: what each promises, and that both find the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use sync_core::Version;
use sync_core::adapter::elasticsearch::{
    ElasticsearchConfig, ElasticsearchSearcher, ElasticsearchSink, IndexConfig, SearcherConfig,
};
use sync_core::adapter::memory::{MemorySearcher, MemorySink};
use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcher, SearchedConfig};
use sync_core::port::{Inventory, Outcome, Searcher, Sink, Write};
use sync_core::query::{Cursor, Query};
use sync_core::testkit::conformance::{self, Searched};
use sync_core::testkit::{
    ElasticsearchScratch, SEARCHED_MAPPING, SEARCHED_PROJECTION, SEARCHED_TABLE, searched_documents, searched_fields,
    searched_queries,
};
use tokio_postgres::Client;

use crate::support::postgres::fresh_outbox;

struct Index {
    scratch: ElasticsearchScratch,
    sink: ElasticsearchSink,
    searcher: ElasticsearchSearcher,
    versions: AtomicI64,
}

impl Index {
    async fn new() -> Self {
        let scratch = ElasticsearchScratch::new();
        let cluster = ElasticsearchConfig { urls: vec![scratch.url()], ..ElasticsearchConfig::default() };
        let alias = scratch.name("notes");
        let index = IndexConfig { alias: alias.clone(), mapping: SEARCHED_MAPPING.to_owned() };
        let sink = ElasticsearchSink::new(&cluster, index).unwrap();
        sink.prepare().await.unwrap();
        let (budget, attempt) = (Duration::from_secs(10), Duration::from_secs(5));
        let config = SearcherConfig { alias, budget, attempt };
        let searcher = ElasticsearchSearcher::new(&cluster, config, searched_fields()).unwrap();
        Self { scratch, sink, searcher, versions: AtomicI64::new(1) }
    }

    async fn write(&self, documents: Vec<(String, Option<String>)>) {
        write(&self.sink, &self.versions, documents).await;
        let (status, _) = self.scratch.request("POST", &format!("/{}/_refresh", self.scratch.name("notes")), "");
        assert_eq!(status, 200);
    }
}

async fn write(sink: &dyn Sink, versions: &AtomicI64, documents: Vec<(String, Option<String>)>) {
    let write = |(key, document)| {
        let version = Version::new(3, versions.fetch_add(1, Ordering::Relaxed)).unwrap();
        Write { key, version, document }
    };
    let outcomes = sink.apply(&documents.into_iter().map(write).collect::<Vec<_>>()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied)), "{outcomes:?}");
}

fn keyed(documents: &[Json]) -> Vec<(String, Option<String>)> {
    let key = |document: &Json| document["id"].as_str().unwrap().to_owned();
    documents.iter().map(|document| (key(document), Some(document.to_string()))).collect()
}

async fn version_in(sink: &dyn Inventory, key: &str) -> u64 {
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

struct Table {
    client: Client,
    searcher: PostgresSearcher,
}

impl Table {
    async fn new() -> Self {
        let (client, url) = fresh_outbox().await;
        client.batch_execute(SEARCHED_TABLE).await.unwrap();
        let database = PostgresConfig { url, ..PostgresConfig::default() };
        let config = SearchedConfig {
            index: "notes".to_owned(),
            topic: "notes".to_owned(),
            sql: SEARCHED_PROJECTION.to_owned(),
            language: "simple".to_owned(),
            max_lag: Duration::from_secs(30),
        };
        Self { client, searcher: PostgresSearcher::new(&database, &[], &config, searched_fields()).unwrap() }
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

struct Memory {
    sink: Arc<MemorySink>,
    searcher: MemorySearcher,
    versions: AtomicI64,
}

impl Memory {
    fn new() -> Self {
        let sink = Arc::new(MemorySink::new());
        let searcher = MemorySearcher::new(Arc::clone(&sink), searched_fields());
        Self { sink, searcher, versions: AtomicI64::new(1) }
    }
}

#[async_trait]
impl Searched for Memory {
    fn searcher(&self) -> &dyn Searcher {
        &self.searcher
    }

    async fn put(&self, documents: &[Json]) {
        write(&*self.sink, &self.versions, keyed(documents)).await;
    }

    async fn delete(&self, key: &str) {
        write(&*self.sink, &self.versions, vec![(key.to_owned(), None)]).await;
    }

    async fn version(&self, key: &str) -> u64 {
        version_in(&*self.sink, key).await
    }
}

#[tokio::test]
async fn an_index_in_memory_keeps_every_promise_of_a_searcher() {
    conformance::searcher(async || Memory::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_elasticsearch_keeps_every_promise_of_a_searcher() {
    conformance::searcher(async || Index::new().await).await;
}

#[tokio::test]
async fn rows_in_postgresql_keep_every_promise_of_a_searcher() {
    conformance::searcher(async || Table::new().await).await;
}

/// All keys, page by page, with what was counted on the first.
async fn walk(searcher: &dyn Searcher, query: &Query) -> (Vec<String>, String) {
    let (mut keys, mut query, mut counted) = (Vec::new(), query.clone(), None);
    loop {
        let found = searcher.search(&query).await.unwrap();
        keys.extend(found.hits.into_iter().map(|hit| hit.key));
        counted.get_or_insert_with(|| format!("{:?} {:?}", found.total, found.facets));
        let Some(next) = found.next else { return (keys, counted.unwrap_or_default()) };
        query.after = Some(Cursor::parse(&next.to_string()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_two_hundred_queries_index_and_database_find_the_same_in_the_same_order() {
    let (index, table, memory) = (Index::new().await, Table::new().await, Memory::new());
    let documents = searched_documents(11, 300);
    index.put(&documents).await;
    table.put(&documents).await;
    memory.put(&documents).await;
    let mut found = 0;
    for (text, query) in searched_queries(11, 200) {
        let expected = walk(memory.searcher(), &query).await;
        found += usize::from(!expected.0.is_empty() && expected.0.len() < documents.len());
        // The index knows dates by the millisecond, and memory and database by the microsecond.
        let [index, table] = [walk(index.searcher(), &query).await, walk(table.searcher(), &query).await];
        assert_eq!(index, expected, "Elasticsearch: {text}");
        assert_eq!(table, expected, "PostgreSQL: {text}");
    }
    assert!(found > 120, "only {found} queries found some and not all");
}
