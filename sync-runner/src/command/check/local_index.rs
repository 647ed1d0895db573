//! Checks of the directory that holds the indexes where there is no cluster.

use sync_core::adapter::local_index::LocalReport;

use super::finding::Finding;
use crate::wire::Wire;

/// How it is.
pub(super) async fn directory(wire: &Wire<'_>) -> Finding {
    match wire.local_indexes().await {
        Ok(LocalReport { directory, is_there, .. }) => {
            let there = if is_there { "is there" } else { "is made with the first index" };
            let found = format!("{}: {there}; elasticsearch.url is not set", directory.display());
            Finding::ok("local_index", "directory", found)
        }
        Err(error) => Finding::failed("local_index", "directory", &error),
    }
}
