//! The Elasticsearch sink on a real server.

use std::sync::Arc;

use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::port::Sink;
use sync_core::testkit::{ElasticsearchScratch, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn the_elasticsearch_sink_keeps_every_promise_of_a_sink() {
    let scratch = ElasticsearchScratch::new();
    let config = ElasticsearchConfig { urls: vec![scratch.url()], ..ElasticsearchConfig::default() };
    conformance::sink(async |name: &str| {
        // The suite's documents differ on purpose; their fields are not indexed.
        let mapping = r#"{"settings":{"number_of_shards":2},"mappings":{"enabled":false}}"#;
        let index = IndexConfig { alias: scratch.name(name), mapping: mapping.into() };
        Arc::new(ElasticsearchSink::new(&config, index).unwrap()) as Arc<dyn Sink>
    })
    .await;
}
