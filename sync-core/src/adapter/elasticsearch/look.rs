//! What is asked of an index by whoever only looks: nothing is created or refreshed.

use std::collections::BTreeMap;

use ::elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Judged;
use super::hits::Hits;
use super::name::segment;
use super::sink::{ElasticsearchSink, Shards};
use super::verdict::Asked;
use crate::error::Error;
use crate::port::Stored;
use crate::version::Version;

impl ElasticsearchSink {
    /// How many documents a search would see, `None` when there is no such index. Unlike `count` of the port, it creates
    /// and refreshes nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn documents(&self) -> Result<Option<u64>, Error> {
        #[derive(Deserialize)]
        struct Counted {
            count: u64,
            _shards: Shards,
        }

        let doing = format!("counting the documents of {}", self.alias());
        let path = format!("/{}/_count", segment(self.alias()));
        let answer = self.client().send(Method::Get, &path, None).await?;
        match answer.judge(Asked::Other, &doing)? {
            Judged::Done => {
                let Counted { count, _shards: shards } = answer.read(&doing)?;
                shards.all_answered(&doing).map(|()| Some(count))
            }
            Judged::IndexMissing => Ok(None),
        }
    }

    /// How long the index remembers the version of a deleted document, as Elasticsearch writes it (`index.gc_deletes`); `None`
    /// when there is no such index.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn remembers_deletes(&self) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Settings {
            #[serde(default)]
            settings: BTreeMap<String, String>,
            #[serde(default)]
            defaults: BTreeMap<String, String>,
        }
        const NAME: &str = "index.gc_deletes";

        let doing = format!("reading the settings of {}", self.alias());
        let path = format!("/{}/_settings/{NAME}?flat_settings=true&include_defaults=true", segment(self.alias()));
        let answer = self.client().send(Method::Get, &path, None).await?;
        if answer.judge(Asked::Other, &doing)? == Judged::IndexMissing {
            return Ok(None);
        }
        let found: BTreeMap<String, Settings> = answer.read(&doing)?;
        let of_index = |mut index: Settings| index.settings.remove(NAME).or_else(|| index.defaults.remove(NAME));
        Ok(found.into_values().find_map(of_index))
    }

    /// A look into the index for a person: up to `limit` keys and documents that match a query string
    /// (`title:invoice AND status:FAILED`), as far as Elasticsearch has refreshed.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`; `Configuration` also when the query cannot be read.
    pub async fn look(&self, query: &str, limit: usize) -> Result<Vec<(String, Stored)>, Error> {
        #[derive(Deserialize)]
        struct Found<'a> {
            #[serde(borrow)]
            hits: Hits<Hit<'a>>,
        }
        #[derive(Deserialize)]
        struct Hit<'a> {
            #[serde(rename = "_id")]
            key: String,
            #[serde(rename = "_version")]
            version: u64,
            #[serde(borrow, rename = "_source")]
            source: &'a RawValue,
        }

        let doing = format!("searching {}", self.alias());
        let body =
            serde_json::json!({ "size": limit, "version": true, "query": { "query_string": { "query": query } } });
        let answer = self.ask(Method::Post, "/_search", Some(body.to_string().into()), &doing).await?;
        let Found { hits: Hits { hits } } = answer.read(&doing)?;
        let stored = |hit: Hit<'_>| {
            let version = Version::from_external(hit.version);
            (hit.key, Stored { version, document: hit.source.get().to_owned() })
        };
        Ok(hits.into_iter().map(stored).collect())
    }
}
