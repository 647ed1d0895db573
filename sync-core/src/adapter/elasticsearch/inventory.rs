//! What the index holds, listed at one point in time.

use ::elasticsearch::http::Method;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Answer, Judged};
use super::get::Wanted;
use super::hits::Hits;
use super::sink::ElasticsearchSink;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind};
use crate::port::{Inventoried, Inventory, InventoryCursor};
use crate::version::Version;

/// How long the cluster remembers a point in time nobody asks about.
const KEEP_ALIVE: &str = "5m";

/// Where a listing goes on.
#[derive(Serialize, Deserialize)]
struct Place {
    /// The point in time.
    id: String,
    /// The last document's place in it.
    after: Option<Value>,
}

#[async_trait]
impl Inventory for ElasticsearchSink {
    async fn versions(&self, keys: &[String]) -> Result<Vec<Option<Version>>, Error> {
        let held = self.get(keys, Wanted::Versions).await?;
        Ok(held.into_iter().map(|held| held.map(|held| held.version)).collect())
    }

    async fn inventory(&self, from: Option<&InventoryCursor>, limit: usize) -> Result<Inventoried, Error> {
        #[derive(Deserialize)]
        struct Found {
            pit_id: String,
            #[serde(default)]
            hits: Hits<Hit>,
        }
        #[derive(Deserialize)]
        struct Hit {
            #[serde(rename = "_id")]
            key: String,
            #[serde(rename = "_version")]
            version: u64,
            sort: Value,
        }

        // More, a search refuses.
        let limit = limit.clamp(1, 10_000);
        let doing = format!("listing the documents of {}", self.alias());
        let Place { id, after } = match from {
            Some(cursor) => serde_json::from_str(cursor.place()).map_err(|error| {
                Error::new(ErrorKind::Internal, format!("{doing}: a cursor of another index")).with_source(error)
            })?,
            None => Place { id: self.point_in_time(&doing).await?, after: None },
        };
        let mut body = json!({
            "size": limit, "_source": false, "version": true, "track_total_hits": false, "sort": ["_shard_doc"],
            "pit": { "id": id, "keep_alive": KEEP_ALIVE },
        });
        if let Some(after) = after {
            body["search_after"] = after;
        }
        let answer = self.search(&body, &doing).await?;
        let Found { pit_id, hits: Hits { hits } } = answer.read(&doing)?;
        let after = hits.last().map(|last| last.sort.clone());
        let next = if hits.len() < limit {
            self.forget(&pit_id).await;
            None
        } else {
            let place = json!(Place { id: pit_id, after });
            Some(InventoryCursor::new(place.to_string()))
        };
        let documents = hits.into_iter().map(|hit| (hit.key, Version::from_external(hit.version))).collect();
        Ok(Inventoried { documents, next })
    }
}

impl ElasticsearchSink {
    /// A view of the index as it is now, every applied write included.
    async fn point_in_time(&self, doing: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Opened {
            id: String,
        }
        self.refresh(doing).await?;
        let path = format!("/_pit?keep_alive={KEEP_ALIVE}");
        let answer = self.ask(Method::Post, &path, None, doing).await?;
        answer.read(doing).map(|opened: Opened| opened.id)
    }

    /// Searches a point in time, which names the index.
    async fn search(&self, body: &Value, doing: &str) -> Result<Answer, Error> {
        let path = "/_search?allow_partial_search_results=false\
                    &filter_path=pit_id,hits.hits._id,hits.hits._version,hits.hits.sort,error,status";
        let answer = self.client().send(Method::Post, path, Some(body.to_string().into())).await?;
        // Neither the point in time nor the index it was of may be there any more.
        if answer.status == 404 || answer.judge(Asked::Other, doing)? == Judged::IndexMissing {
            let what = format!("{doing}: Elasticsearch has forgotten where that was; it begins anew");
            return Err(Error::new(ErrorKind::Fenced, what));
        }
        Ok(answer)
    }

    /// Frees what a listing holds; where that fails, time does it.
    async fn forget(&self, point_in_time: &str) {
        let body = json!({ "id": point_in_time }).to_string();
        if let Err(error) = self.client().send(Method::Delete, "/_pit", Some(body.into())).await {
            tracing::debug!(%error, "a point in time is left to its end");
        }
    }
}
