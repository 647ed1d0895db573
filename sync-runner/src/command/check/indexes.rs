//! Checks of the indexes: where they are, and whether each can be made there.

use std::time::Duration;

use sync_core::{Error, Remedy};

use super::finding::Finding;
use super::{any, elasticsearch, local_index};
use crate::cli::RoleName;
use crate::config::{Config, Index, Sink, parse_duration};
use crate::render;
use crate::wire::Wire;

/// The roles that make an index and write to it.
const WRITING: [RoleName; 2] = [RoleName::Indexer, RoleName::Reconciler];

/// Where the indexes are, then what is configured of each.
pub(super) async fn check(config: &Config, wire: &Wire<'_>, roles: &[RoleName]) -> Vec<Finding> {
    let writes = any(roles, &WRITING);
    let mut findings = vec![match config.indexer.sink {
        Sink::Elasticsearch => elasticsearch::cluster(wire).await,
        Sink::Local => local_index::directory(wire).await,
    }];
    for (name, index) in &config.indexes {
        let part = format!("indexes.{name}");
        findings.push(match self::index(config, wire, name, index, writes).await {
            Ok(found) => Finding::ok(part.as_str(), "mapping", found),
            Err(error) => Finding::failed(part.as_str(), "mapping", &error),
        });
        if writes {
            findings.extend(deletes(wire, &part, name, index).await);
        }
    }
    findings
}

async fn index(config: &Config, wire: &Wire<'_>, name: &str, index: &Index, writes: bool) -> Result<String, Error> {
    let mapping = index.mapping.as_ref().map_or_else(
        || "no mapping: fields are guessed, or not searched".to_owned(),
        |mapping| mapping.path.display().to_string(),
    );
    let sink = wire.sink(name, index)?;
    // That the cluster cannot be reached has a line of its own. What is on this machine is never only away.
    let may_be_away = match config.indexer.sink {
        Sink::Elasticsearch => true,
        Sink::Local => false,
    };
    let unless_away = |error: Error| {
        if may_be_away && error.remedy() == Remedy::Retry { Ok("not seen".to_owned()) } else { Err(error) }
    };
    if writes {
        let checked = match config.indexer.sink {
            Sink::Elasticsearch => sink.check_mapping().await,
            Sink::Local => wire.local_index(name, index).await,
        };
        checked.or_else(|error| unless_away(error).map(drop))?;
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
