//! Which of the servers that speak Elasticsearch's language a cluster is of. They differ in three places: how a missing index
//! is kept from being made by a write (`index.rs`, `bulk.rs`), and how a point in time is asked for (`inventory.rs`).

use ::elasticsearch::http::Method;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind};

/// A server that speaks Elasticsearch's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Product {
    /// Elasticsearch itself, and whoever does not say what it is.
    Elasticsearch,
    /// OpenSearch, which went its own way from Elasticsearch 7.10.
    OpenSearch,
}

impl Product {
    /// What it calls itself.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch => "Elasticsearch",
            Self::OpenSearch => "OpenSearch",
        }
    }

    /// Asks the cluster. `Unavailable` when it cannot answer just now; whoever may not ask has Elasticsearch before them, as
    /// far as is known.
    pub(super) async fn of(client: &Client) -> Result<Self, Error> {
        let answer = client.send(Method::Get, "/", None).await?;
        match answer.judge(Asked::Other, "asking what kind of cluster it is") {
            Ok(_) => Ok(Self::told(&answer.body)),
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(_) => Ok(Self::Elasticsearch),
        }
    }

    fn told(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        struct Root {
            #[serde(default)]
            tagline: String,
            #[serde(default)]
            version: Version,
        }
        #[derive(Default, Deserialize)]
        struct Version {
            #[serde(default)]
            distribution: String,
        }

        // One that is told to look like Elasticsearch 7.10 leaves the distribution out, and keeps its motto.
        let Root { tagline, version } = serde_json::from_slice(body).unwrap_or_default();
        if version.distribution == "opensearch" || tagline.contains("OpenSearch") {
            Self::OpenSearch
        } else {
            Self::Elasticsearch
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_opensearch_when_it_says_so_in_either_way_and_elasticsearch_otherwise() {
        let motto = "The OpenSearch Project: https://opensearch.org/";
        let says = |body: serde_json::Value| Product::told(body.to_string().as_bytes());
        let plain =
            serde_json::json!({ "version": { "distribution": "opensearch", "number": "2.19.6" }, "tagline": motto });
        let in_disguise = serde_json::json!({ "version": { "number": "7.10.2" }, "tagline": motto });
        assert_eq!([says(plain), says(in_disguise)], [Product::OpenSearch; 2]);
        for body in [
            serde_json::json!({ "version": { "number": "8.19.21" }, "tagline": "You Know, for Search" }),
            serde_json::json!({ "version": 7 }),
            serde_json::json!([]),
        ] {
            assert_eq!(says(body), Product::Elasticsearch);
        }
        assert_eq!(Product::told(b"<html>welcome</html>"), Product::Elasticsearch);
    }
}
