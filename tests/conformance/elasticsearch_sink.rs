//! The Elasticsearch sink, and the indexes behind its alias, on a real server.

use std::sync::Arc;

use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchIndexes, ElasticsearchSink, IndexConfig};
use sync_core::port::{Inventoried, Inventory, Sink, Write};
use sync_core::testkit::ElasticsearchScratch;
use sync_core::testkit::conformance::{self, Behind};
use sync_core::{ErrorKind, Version};

/// The suites' documents differ on purpose; their fields are not indexed.
const MAPPING: &str = r#"{"settings":{"number_of_shards":2},"mappings":{"enabled":false}}"#;

fn sink(scratch: &ElasticsearchScratch, name: &str) -> Arc<ElasticsearchSink> {
    let config = ElasticsearchConfig::new([scratch.url()]);
    let index = IndexConfig::new("jobs", MAPPING).alias(scratch.name(name));
    Arc::new(ElasticsearchSink::new(&config, index).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_elasticsearch_sink_keeps_every_promise_of_a_sink() {
    let scratch = ElasticsearchScratch::new();
    conformance::sink(async |name: &str| sink(&scratch, name) as Arc<dyn Sink>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_elasticsearch_sink_keeps_every_promise_of_an_inventory() {
    let scratch = ElasticsearchScratch::new();
    conformance::inventory(async |name: &str| sink(&scratch, name) as Arc<dyn Inventory>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_indexes_behind_an_alias_keep_every_promise_of_concrete_indexes() {
    let scratch = ElasticsearchScratch::new();
    let config = ElasticsearchConfig::new([scratch.url()]);
    let index = || IndexConfig::new("jobs", MAPPING).alias(scratch.name("anew"));
    let make = async || Behind {
        indexes: Arc::new(ElasticsearchIndexes::new(&config, index(), MAPPING).unwrap()),
        searched: sink(&scratch, "anew"),
    };
    conformance::concrete_indexes(make, |name| {
        Arc::new(ElasticsearchSink::of_concrete(&config, index(), name).unwrap()) as Arc<dyn Sink>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_elasticsearch_has_forgotten_is_refused_and_begins_anew() {
    let scratch = ElasticsearchScratch::new();
    let index = sink(&scratch, "forgotten");
    index.prepare().await.unwrap();
    let write =
        |key: &str| Write { key: key.into(), version: Version::new(0, 1).unwrap(), document: Some("{}".into()) };
    index.apply(&[write("a"), write("b")]).await.unwrap();
    let cursor = index.inventory(None, 1).await.unwrap().next.unwrap();
    assert_eq!(scratch.request("DELETE", &format!("/{}-000001", scratch.name("forgotten")), "").0, 200);
    assert_eq!(index.inventory(Some(&cursor), 1).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(index.inventory(None, 1).await.unwrap(), Inventoried::default(), "of the index that took its place");
}
