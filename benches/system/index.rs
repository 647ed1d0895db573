//! An index, as someone who only counts what arrives in it.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::Outcome;
use crate::program::Program;
use crate::stage::Stage;

/// How often it is looked at.
const BETWEEN: Duration = Duration::from_millis(20);

/// Whatever is behind an alias or a name.
pub(crate) struct Index {
    url: String,
    http: reqwest::Client,
}

impl Index {
    pub(crate) fn new(stage: &Stage, name: &str) -> Self {
        Self { url: format!("{}/{name}", stage.elasticsearch), http: reqwest::Client::new() }
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Outcome<Option<T>> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        // Not made yet, or not opened yet.
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?))
    }

    /// Makes it, with this mapping.
    pub(crate) async fn create(&self, mapping: &str) -> Outcome<()> {
        let request = self.http.put(&self.url).header("content-type", "application/json").body(mapping.to_owned());
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Documents that were ever written to it, searchable or not.
    async fn written(&self) -> Outcome<u64> {
        let stats: Option<Value> = self.ask("/_stats/indexing?filter_path=_all.primaries.indexing.index_total").await?;
        let total = stats.as_ref().and_then(|stats| stats["_all"]["primaries"]["indexing"]["index_total"].as_u64());
        Ok(total.unwrap_or_default())
    }

    /// Deletes so many of its documents by hand, ten thousand at most, whichever come first; says how many it were.
    pub(crate) async fn delete_some(&self, documents: u64) -> Outcome<usize> {
        let documents = documents.min(10_000);
        let path = format!("/_search?size={documents}&_source=false&filter_path=hits.hits._id");
        let found: Option<Value> = self.ask(&path).await?;
        let hits = found.as_ref().and_then(|found| found.pointer("/hits/hits")?.as_array());
        let keys: Vec<&Value> = hits.into_iter().flatten().map(|hit| &hit["_id"]).collect();
        let lines: String = keys.iter().map(|key| format!("{{\"delete\":{{\"_id\":{key}}}}}\n")).collect();
        let request = self.http.post(format!("{}/_bulk?refresh=true&filter_path=errors", self.url));
        let answer = request.header("content-type", "application/x-ndjson").body(lines).send().await?;
        let answer: Value = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
        if answer["errors"] == false { Ok(keys.len()) } else { Err("a document was not deleted".into()) }
    }

    /// Documents a search for this query string finds, or all of them.
    pub(crate) async fn finds(&self, query: Option<&str>) -> Outcome<u64> {
        let query = query.map(|query| format!("?q={query}")).unwrap_or_default();
        let counted: Option<Value> = self.ask(&format!("/_count{query}")).await?;
        Ok(counted.as_ref().and_then(|counted| counted["count"].as_u64()).unwrap_or_default())
    }

    /// When `wanted` documents were written, while `program` lives.
    pub(crate) async fn until_written(&self, wanted: u64, program: &mut Program, within: Duration) -> Outcome<Instant> {
        until(wanted, async || self.written().await, program, within).await
    }

    /// When a search finds `wanted` documents, while `program` lives.
    pub(crate) async fn until_finds(
        &self,
        query: &str,
        wanted: u64,
        program: &mut Program,
        within: Duration,
    ) -> Outcome<Instant> {
        until(wanted, async || self.finds(Some(query)).await, program, within).await
    }

    /// Fails unless exactly `wanted` documents can be found.
    pub(crate) async fn holds(&self, wanted: u64) -> Outcome<()> {
        self.http.post(format!("{}/_refresh", self.url)).send().await?.error_for_status()?;
        let found = self.finds(None).await?;
        if found == wanted { Ok(()) } else { Err(format!("{} holds {found} documents, not {wanted}", self.url).into()) }
    }
}

/// When there are `wanted`, while `program` lives.
async fn until(
    wanted: u64,
    count: impl AsyncFn() -> Outcome<u64>,
    program: &mut Program,
    within: Duration,
) -> Outcome<Instant> {
    let began = Instant::now();
    loop {
        let there = count().await?;
        if there >= wanted {
            return Ok(Instant::now());
        }
        program.is_alive()?;
        if began.elapsed() > within {
            return Err(format!("after {within:?} there are {there} documents, not {wanted}").into());
        }
        sleep(BETWEEN).await;
    }
}
