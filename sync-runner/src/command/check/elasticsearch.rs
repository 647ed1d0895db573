//! Checks of Elasticsearch: the cluster.

use sync_core::Error;
use sync_core::adapter::elasticsearch::ClusterStatus;

use super::finding::Finding;
use crate::render;
use crate::wire::Wire;

/// How it is.
pub(super) async fn cluster(wire: &Wire<'_>) -> Finding {
    found(wire).await.unwrap_or_else(|error| Finding::failed("elasticsearch", "cluster", &error))
}

async fn found(wire: &Wire<'_>) -> Result<Finding, Error> {
    let cluster = wire.cluster().await?;
    let version = cluster.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let found = format!(
        "{:?}: {}{version}, {}, {}, {} of them with data",
        cluster.name,
        cluster.product.name(),
        cluster.status.name(),
        render::counted(cluster.nodes, "node"),
        cluster.data_nodes
    );
    Ok(match cluster.status {
        ClusterStatus::Green => Finding::ok("elasticsearch", "cluster", found),
        ClusterStatus::Yellow => {
            Finding::warning("elasticsearch", "cluster", format!("{found}; a copy of some shard is missing"))
        }
        ClusterStatus::Red => {
            Finding::warning("elasticsearch", "cluster", format!("{found}; some index is not complete"))
        }
        // Whatever else it says of itself, it does not say that it is well.
        _ => Finding::warning("elasticsearch", "cluster", found),
    })
}
