//! Searching the index behind an alias.

mod answer;
mod body;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Answer, Client, Judged, TimeLimits};
use super::config::ElasticsearchConfig;
use super::hits::Hits;
use super::name::segment;
use crate::error::{Error, ErrorKind};
use crate::port::{AwaitedWrite, Found, Searcher};
use crate::query::{Fields, Query};
use crate::version::Version;

/// In answers and cursors.
const NAME: &str = "elasticsearch";

/// How an index is searched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ElasticsearchSearcherConfig {
    /// What is searched: the alias of an index.
    pub alias: String,
    /// How long a search may take in all; 1 second unless said.
    pub budget: Duration,
    /// After how much of that a node is late, and another one is asked as well, once; 100 milliseconds unless said.
    pub attempt: Duration,
}

impl ElasticsearchSearcherConfig {
    /// What is searched under this alias, for a second at most, and of that a tenth at the first node.
    #[must_use]
    pub fn new(alias: impl Into<String>) -> Self {
        Self { alias: alias.into(), budget: Duration::from_secs(1), attempt: Duration::from_millis(100) }
    }
}

setters! {
    ElasticsearchSearcherConfig {
        budget: Duration,
        attempt: Duration,
    }
}

/// Searches an index. Two nodes are asked at most, the second when the first cannot answer or is late.
///
/// With security switched on it needs `read` on the alias' indexes.
#[derive(Debug)]
pub struct ElasticsearchSearcher {
    client: Client,
    config: ElasticsearchSearcherConfig,
    fields: Arc<Fields>,
}

impl ElasticsearchSearcher {
    /// Checks the configuration; reaches out to nobody.
    ///
    /// # Errors
    /// As for [`ElasticsearchSink::new`](super::ElasticsearchSink::new).
    pub fn new(
        cluster: &ElasticsearchConfig,
        config: ElasticsearchSearcherConfig,
        fields: Arc<Fields>,
    ) -> Result<Self, Error> {
        Ok(Self { client: Client::new(cluster)?, config, fields })
    }

    async fn ask(&self, body: &Value, parameters: &str) -> Result<Answer, Error> {
        let ElasticsearchSearcherConfig { alias, budget, attempt } = &self.config;
        let limits = TimeLimits { attempt: *attempt, budget: *budget };
        let doing = format!("searching {alias}");
        let path = format!("/{}/_search?allow_partial_search_results=false{parameters}", segment(alias));
        match self.client.send_within(limits, &path, body.to_string().into(), &doing).await? {
            (answer, Judged::Done) => Ok(answer),
            (_, Judged::IndexMissing) => Err(Error::new(
                ErrorKind::Configuration,
                format!("{doing}: there is no such index; an indexer makes it"),
            )),
        }
    }
}

#[async_trait]
impl Searcher for ElasticsearchSearcher {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn search(&self, query: &Query) -> Result<Found, Error> {
        query.check(&self.fields)?;
        let order = query.page_order(&self.fields);
        let mut body = body::of(query, &order, &self.fields);
        // Nobody waits for it any longer.
        body["timeout"] = json!(format!("{}ms", self.config.budget.as_millis().max(1)));
        let preference = preference(query.wrote.iter().map(|wrote| wrote.key.as_str()));
        // No filter_path here: with one, Elasticsearch writes documents anew and rounds their numbers.
        let answer = self.ask(&body, &preference).await?;
        answer::read(&answer, query, order, &self.fields)
    }

    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            hits: Hits<Hit>,
        }
        #[derive(Deserialize)]
        struct Hit {
            #[serde(rename = "_id")]
            key: String,
            #[serde(rename = "_version")]
            version: u64,
        }

        let keys: Vec<_> = writes.iter().map(|write| write.key.as_str()).collect();
        let body = json!({
            "size": keys.len(), "_source": false, "version": true, "track_total_hits": false,
            "query": { "ids": { "values": keys } },
        });
        let preference = preference(keys.iter().copied());
        let parameters = format!("&filter_path=hits.hits._id,hits.hits._version,error,status{preference}");
        let answer = self.ask(&body, &parameters).await?;
        let Found { hits: Hits { hits } } = answer.read("looking for what was written")?;
        let found = |key: &str| hits.iter().find(|hit| hit.key == key).map(|hit| Version::from_external(hit.version));
        Ok(writes.iter().all(|write| write.is_seen(found(&write.key))))
    }
}

/// Each copy of a shard is refreshed by itself: what was seen in one has to be searched in the same.
fn preference<'a>(written: impl Iterator<Item = &'a str>) -> String {
    let written: BTreeSet<_> = written.collect();
    if written.is_empty() {
        return String::new();
    }
    let mut hasher = DefaultHasher::new();
    written.hash(&mut hasher);
    format!("&preference=wrote{:x}", hasher.finish())
}
