//! What can be said of a cluster before anything is written to it.

use std::collections::BTreeMap;

use ::elasticsearch::http::Method;
use serde::{Deserialize, Serialize};

use super::client::{Client, Judged};
use super::config::ElasticsearchConfig;
use super::product::Product;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind};

/// A cluster that answers and knows us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterReport {
    /// Its name.
    pub name: String,
    /// How whole it is.
    pub status: ClusterStatus,
    /// How many nodes it has.
    pub nodes: u32,
    /// How many of them hold documents.
    pub data_nodes: u32,
    /// What it is.
    pub product: Product,
    /// The version of the node that answered, where we may ask for it.
    pub version: Option<String>,
}

/// How whole a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClusterStatus {
    /// All is there.
    Green,
    /// A copy of some shard is missing.
    Yellow,
    /// Some shard is missing.
    Red,
}

impl ClusterStatus {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// Asks the cluster how it is. Changes nothing; dropped half-way, nothing happened.
///
/// # Errors
/// `Configuration` when the address is of neither Elasticsearch nor OpenSearch; `Denied` when it does not know us or we may
/// not ask; `Unavailable` when none of the addresses answers.
pub async fn check(config: &ElasticsearchConfig) -> Result<ClusterReport, Error> {
    #[derive(Deserialize)]
    struct Health {
        cluster_name: String,
        status: ClusterStatus,
        number_of_nodes: u32,
        number_of_data_nodes: u32,
    }
    #[derive(Deserialize)]
    struct Nodes {
        nodes: BTreeMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        version: String,
    }

    let client = Client::new(config)?;
    let doing = "asking the cluster's health";
    let answer = client.send(Method::Get, "/_cluster/health", None).await?;
    if answer.judge(Asked::Other, doing)? == Judged::IndexMissing {
        return Err(stranger(&answer.url));
    }
    // Somebody else may well answer 200 to anything, and will do so again.
    let health: Health = answer.read(doing).map_err(|error| stranger(&answer.url).with_source(error))?;
    let answer = client.send(Method::Get, "/_nodes/_local?filter_path=nodes.*.version", None).await?;
    let version = match answer.status {
        200..=299 => {
            let Nodes { nodes } = answer.read("asking for the version")?;
            nodes.into_values().next().map(|node| node.version)
        }
        _ => None,
    };
    Ok(ClusterReport {
        name: health.cluster_name,
        status: health.status,
        nodes: health.number_of_nodes,
        data_nodes: health.number_of_data_nodes,
        product: client.product().await?,
        version,
    })
}

fn stranger(url: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("elasticsearch.url: {url} answers, but not as Elasticsearch or OpenSearch does"),
    )
}
