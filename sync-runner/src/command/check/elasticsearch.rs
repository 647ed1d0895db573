//! Checks of Elasticsearch: the cluster, and whether each index can be made there.

use std::time::Duration;

use sync_core::adapter::elasticsearch::ClusterStatus;
use sync_core::{Error, Remedy};

use super::any;
use super::finding::Finding;
use crate::cli::RoleName;
use crate::config::{Config, Index, parse_duration};
use crate::render;
use crate::wire::Wire;

/// The roles that make an index and write to it.
const WRITING: [RoleName; 2] = [RoleName::Indexer, RoleName::Reconciler];

/// The cluster, then what is configured of each index.
pub(super) async fn check(config: &Config, wire: &Wire<'_>, roles: &[RoleName]) -> Vec<Finding> {
    let writes = any(roles, &WRITING);
    let mut findings = vec![match cluster(wire).await {
        Ok(finding) => finding,
        Err(error) => Finding::failed("elasticsearch", "cluster", &error),
    }];
    for (name, index) in &config.indexes {
        let part = format!("indexes.{name}");
        findings.push(match self::index(wire, name, index, writes).await {
            Ok(found) => Finding::ok(part.as_str(), "mapping", found),
            Err(error) => Finding::failed(part.as_str(), "mapping", &error),
        });
        if writes {
            findings.extend(deletes(wire, &part, name, index).await);
        }
    }
    findings
}

async fn index(wire: &Wire<'_>, name: &str, index: &Index, writes: bool) -> Result<String, Error> {
    let mapping = index.mapping.as_ref().map_or_else(
        || "no mapping: Elasticsearch guesses the fields".to_owned(),
        |mapping| mapping.path.display().to_string(),
    );
    let sink = wire.sink(name, index)?;
    // That the cluster cannot be reached has a line of its own.
    let unless_away =
        |error: Error| if error.remedy() == Remedy::Retry { Ok("not seen".to_owned()) } else { Err(error) };
    if writes {
        sink.check_mapping().await.or_else(|error| unless_away(error).map(drop))?;
    }
    let state = match sink.documents().await {
        Ok(Some(documents)) => render::counted(documents, "document"),
        Ok(None) => "no index yet: the indexer makes it".to_owned(),
        Err(error) => unless_away(error)?,
    };
    Ok(format!("alias {:?}, {state}; {mapping}", index.alias))
}

/// How long the index knows that a document was deleted; nothing where that cannot be asked, which has a line of its own.
async fn deletes(wire: &Wire<'_>, part: &str, name: &str, index: &Index) -> Option<Finding> {
    let kept = wire.sink(name, index).ok()?.remembers_deletes().await.ok()??;
    Some(of_deletes(part, &kept))
}

/// A message may be that late without finding its document deleted and forgotten. What a new index is made with.
const LONG_ENOUGH: Duration = Duration::from_secs(3_600);

fn of_deletes(part: &str, kept: &str) -> Finding {
    let found = format!("the version of a deleted document is known for {kept}");
    if parse_duration(kept).is_none_or(|kept| kept >= LONG_ENOUGH) {
        return Finding::ok(part, "deletes", found);
    }
    let found = format!(
        "{found}: a message that is later than that may bring it back, until the next reconciliation finds it; leave \
         index.gc_deletes out of the mapping, or set it to 1h or more"
    );
    Finding::warning(part, "deletes", found)
}

async fn cluster(wire: &Wire<'_>) -> Result<Finding, Error> {
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
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn an_index_that_forgets_deletes_too_soon_is_told_with_the_setting() {
        for (kept, verdict) in
            [("1h", Verdict::Ok), ("2d", Verdict::Ok), ("60s", Verdict::Warning), ("0ms", Verdict::Warning)]
        {
            assert_eq!(of_deletes("indexes.jobs", kept).verdict, verdict, "{kept}");
        }
    }
}
