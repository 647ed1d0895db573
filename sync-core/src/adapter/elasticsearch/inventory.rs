//! What the index holds, listed at one point in time.

use ::elasticsearch::http::Method;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Answer, Judged};
use super::get::Wanted;
use super::hits::Hits;
use super::product::Product;
use super::sink::ElasticsearchSink;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind};
use crate::port::{Inventoried, Inventory, InventoryCursor};
use crate::version::Version;

/// How long the cluster remembers a point in time nobody asks about.
const KEEP_ALIVE: &str = "5m";

/// More documents than this a search refuses.
const MOST: usize = 10_000;

/// How many documents may have one place in OpenSearch's order, at most: one of each shard, and more shards no index has.
const SHARDS: usize = 1_024;

/// Where a listing goes on.
#[derive(Serialize, Deserialize)]
struct Place {
    /// The point in time.
    id: String,
    /// Behind the documents of this place in it.
    after: Option<Value>,
    /// How many of the documents behind it were listed already. They all have the same place.
    #[serde(default)]
    listed: usize,
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

        let product = self.client().product().await?;
        let limit = limit.clamp(1, MOST - SHARDS);
        let doing = format!("listing the documents of {}", self.alias());
        let Place { id, after, listed } = match from {
            Some(cursor) => serde_json::from_str(cursor.place()).map_err(|error| {
                Error::new(ErrorKind::Internal, format!("{doing}: a cursor of another index")).with_source(error)
            })?,
            None => Place { id: self.point_in_time(product, &doing).await?, after: None, listed: 0 },
        };
        let size = limit + listed;
        let mut body = json!({
            "size": size, "_source": false, "version": true, "track_total_hits": false, "sort": [order(product)],
            "pit": { "id": id, "keep_alive": KEEP_ALIVE },
        });
        if let Some(after) = &after {
            body["search_after"] = after.clone();
        }
        let answer = self.search(&body, &doing).await?;
        let Found { pit_id, hits: Hits { mut hits } } = answer.read(&doing)?;
        let next = if hits.len() < size {
            self.forget(product, &pit_id).await;
            None
        } else {
            let places: Vec<_> = hits.iter().map(|hit| &hit.sort).collect();
            let (after, listed) = behind(product, &places, after.as_ref());
            let place = json!(Place { id: pit_id, after: after.cloned(), listed });
            Some(InventoryCursor::new(place.to_string()))
        };
        drop(hits.drain(..listed.min(hits.len())));
        let documents = hits.into_iter().map(|hit| (hit.key, Version::from_external(hit.version))).collect();
        Ok(Inventoried { documents, next })
    }
}

impl ElasticsearchSink {
    /// A view of the index as it is now, every applied write included.
    async fn point_in_time(&self, product: Product, doing: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Opened {
            #[serde(alias = "pit_id")]
            id: String,
        }
        self.refresh(doing).await?;
        let path = format!("{}?keep_alive={KEEP_ALIVE}", points_in_time(product));
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
    async fn forget(&self, product: Product, point_in_time: &str) {
        let body = match product {
            Product::Elasticsearch => json!({ "id": point_in_time }),
            Product::OpenSearch => json!({ "pit_id": [point_in_time] }),
        };
        if let Err(error) =
            self.client().send(Method::Delete, points_in_time(product), Some(body.to_string().into())).await
        {
            tracing::debug!(%error, "a point in time is left to its end");
        }
    }
}

/// Where points in time are asked for.
const fn points_in_time(product: Product) -> &'static str {
    match product {
        Product::Elasticsearch => "/_pit",
        Product::OpenSearch => "/_search/point_in_time",
    }
}

/// The order of a listing. That of OpenSearch has one place for a document of each shard: version 2 has no order of a shard's
/// documents, and what is behind a document cannot be asked for by a place that is its own.
const fn order(product: Product) -> &'static str {
    match product {
        Product::Elasticsearch => "_shard_doc",
        Product::OpenSearch => "_seq_no",
    }
}

/// Where a listing goes on behind documents of these places, which were asked for behind `after`: behind which place, and how
/// many documents behind that one are listed then.
fn behind<'a>(product: Product, places: &[&'a Value], after: Option<&'a Value>) -> (Option<&'a Value>, usize) {
    let Some(last) = places.last() else { return (after, 0) };
    match product {
        Product::Elasticsearch => (Some(last), 0),
        // A document of another shard may have the place of the last one, and be on the next page.
        Product::OpenSearch => {
            let listed = places.iter().rev().take_while(|place| *place == last).count();
            let before = places.iter().rev().nth(listed);
            (before.copied().or(after), listed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_goes_on_behind_the_last_place_that_no_other_document_can_have() {
        let values: Vec<_> = [3, 5, 5, 7, 7].map(|place| json!([place])).into();
        let places: Vec<_> = values.iter().collect();
        let begun = json!([1]);
        assert_eq!(behind(Product::Elasticsearch, &places, Some(&begun)), (Some(&values[4]), 0));
        assert_eq!(behind(Product::OpenSearch, &places, Some(&begun)), (Some(&values[1]), 2));
        assert_eq!(behind(Product::OpenSearch, &places[..4], Some(&begun)), (Some(&values[1]), 1));
        assert_eq!(behind(Product::OpenSearch, &places[3..], Some(&begun)), (Some(&begun), 2));
        assert_eq!(behind(Product::OpenSearch, &places[..1], None), (None, 1));
        assert_eq!(behind(Product::OpenSearch, &[], Some(&begun)), (Some(&begun), 0));
    }
}
