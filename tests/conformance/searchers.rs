//! Searching real servers: what each promises, and that both find the same.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value as Json;
use sync_core::Version;
use sync_core::adapter::memory::{MemorySearcher, MemorySink};
use sync_core::port::Searcher;
use sync_core::query::{Cursor, Query};
use sync_core::testkit::conformance::{self, SearcherHarness};
use sync_core::testkit::{searched_documents, searched_fields, searched_queries};

use crate::support::searched::{Directory, Index, Table, Written, keyed};

struct Memory {
    sink: Arc<MemorySink>,
    searcher: MemorySearcher,
    written: Written,
}

impl Memory {
    fn new() -> Self {
        let sink = Arc::new(MemorySink::new());
        let searcher = MemorySearcher::new(Arc::clone(&sink), searched_fields());
        Self { sink, searcher, written: Written::default() }
    }
}

#[async_trait]
impl SearcherHarness for Memory {
    fn searcher(&self) -> &dyn Searcher {
        &self.searcher
    }

    async fn put(&self, documents: &[Json]) {
        self.written.write(&*self.sink, keyed(documents)).await;
    }

    async fn delete(&self, key: &str) {
        self.written.write(&*self.sink, vec![(key.to_owned(), None)]).await;
    }

    async fn put_unseen(&self, _: &Json) -> bool {
        false
    }

    async fn version(&self, key: &str) -> Version {
        self.written.version(key)
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
async fn an_index_in_a_directory_keeps_every_promise_of_a_searcher() {
    conformance::searcher(async || Directory::new().await).await;
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
    let directory = Directory::new().await;
    let documents = searched_documents(11, 300);
    index.put(&documents).await;
    table.put(&documents).await;
    memory.put(&documents).await;
    // In more segments than one.
    for some in documents.chunks(70) {
        directory.put(some).await;
    }
    let mut found = 0;
    for (text, query) in searched_queries(11, 200) {
        let expected = walk(memory.searcher(), &query).await;
        found += usize::from(!expected.0.is_empty() && expected.0.len() < documents.len());
        // The index knows dates by the millisecond, and memory and database by the microsecond.
        let [index, table] = [walk(index.searcher(), &query).await, walk(table.searcher(), &query).await];
        assert_eq!(walk(directory.searcher(), &query).await, expected, "the directory: {text}");
        assert_eq!(index, expected, "Elasticsearch: {text}");
        assert_eq!(table, expected, "PostgreSQL: {text}");
    }
    assert!(found > 120, "only {found} queries found some and not all");
}
