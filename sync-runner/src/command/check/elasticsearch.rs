//! Checks of Elasticsearch: the cluster, and whether each index can be made there.

use sync_core::{Error, ErrorKind, Remedy};

use super::finding::Finding;
use crate::config::{Config, Index};
use crate::render;
use crate::wire::Wire;

/// The cluster, then what is configured of each index.
pub(super) async fn check(config: &Config, wire: &Wire<'_>) -> Vec<Finding> {
    let mut findings = vec![match cluster(wire).await {
        Ok(finding) => finding,
        Err(error) => Finding::failed("elasticsearch", "cluster", &error),
    }];
    for (name, index) in &config.indexes {
        let part = format!("indexes.{name}");
        findings.push(match self::index(wire, index).await {
            Ok(found) => Finding::ok(part, "mapping", found),
            Err(error) => Finding::failed(part, "mapping", &error),
        });
    }
    findings
}

async fn index(wire: &Wire<'_>, index: &Index) -> Result<String, Error> {
    let mapping = index.mapping.as_ref().map_or_else(
        || "no mapping: Elasticsearch guesses the fields".to_owned(),
        |mapping| mapping.path.display().to_string(),
    );
    let state = match wire.sink(index)?.documents().await {
        Ok(Some(documents)) => render::counted(documents, "document"),
        Ok(None) => "no index yet: the indexer makes it".to_owned(),
        // That the cluster cannot be reached has a line of its own.
        Err(error) if error.remedy() == Remedy::Retry => "not seen".to_owned(),
        Err(error) => return Err(error),
    };
    Ok(format!("alias {:?}, {state}; {mapping}", index.alias))
}

async fn cluster(wire: &Wire<'_>) -> Result<Finding, Error> {
    let cluster = wire.cluster().await?;
    let version = cluster.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let found = format!(
        "{:?}: Elasticsearch{version}, {}, {}, {} of them with data",
        cluster.name,
        cluster.status,
        render::counted(cluster.nodes, "node"),
        cluster.data_nodes
    );
    match cluster.status.as_str() {
        "green" => Ok(Finding::ok("elasticsearch", "cluster", found)),
        "yellow" => {
            Ok(Finding::warning("elasticsearch", "cluster", format!("{found}; a copy of some shard is missing")))
        }
        "red" => Ok(Finding::warning("elasticsearch", "cluster", format!("{found}; some index is not complete"))),
        other => Err(Error::new(ErrorKind::Configuration, format!("elasticsearch.url: the health is {other:?}"))),
    }
}
