//! What the sink makes of what Elasticsearch answers.

mod document;
mod index;
mod scripted;
mod setup;

use std::time::Duration;

use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::port::{Outcome, Write};
use sync_core::{ErrorKind, Version};

/// One integer field, and nothing else.
const STRICT: &str = r#"{"mappings":{"dynamic":"strict","properties":{"n":{"type":"integer"}}}}"#;

fn config(urls: &[String]) -> ElasticsearchConfig {
    ElasticsearchConfig::new(urls).request_timeout(Duration::from_secs(60))
}

fn sink(url: String, alias: &str, mapping: &str) -> ElasticsearchSink {
    ElasticsearchSink::new(&config(&[url]), IndexConfig::new(alias, mapping)).unwrap()
}

fn put(key: &str, version: i64, document: &str) -> Write {
    Write { key: key.into(), version: Version::new(0, version).unwrap(), document: Some(document.into()) }
}

fn delete(key: &str, version: i64) -> Write {
    Write { key: key.into(), version: Version::new(0, version).unwrap(), document: None }
}

/// The outcomes in short: applied, stale, or the kind of the error.
fn said(outcomes: &[Outcome]) -> Vec<&'static str> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Applied => "applied",
            Outcome::Stale => "stale",
            Outcome::Failed(error) => error.kind().name(),
        })
        .collect()
}

fn error(outcome: &Outcome) -> (ErrorKind, String) {
    match outcome {
        Outcome::Failed(error) => (error.kind(), error.to_string()),
        Outcome::Applied | Outcome::Stale => panic!("{outcome:?} where an error was expected"),
    }
}
