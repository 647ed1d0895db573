//! Messages that wait in retry topics of earlier settings: their delays were changed while something waited.

use std::time::Duration;

use futures::future::try_join_all;
use sync_core::policy::Backoff;
use sync_core::{Error, Remedy};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::wire::{IndexerOf, IndexersOf};

/// Between looks while the brokers cannot be reached.
const BETWEEN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Works them off until `shutdown`; looks once which topics there are.
pub(super) async fn run(indexers: IndexersOf, shutdown: CancellationToken) -> Result<(), Error> {
    let found = shutdown.run_until_cancelled(find(&indexers)).await.unwrap_or(Ok(Vec::new()))?;
    for IndexerOf { topic, .. } in &found {
        tracing::info!(topic, "a retry topic of earlier settings is read, too");
    }
    try_join_all(found.iter().map(|IndexerOf { indexer, .. }| indexer.run(shutdown.clone()))).await?;
    shutdown.cancelled().await;
    Ok(())
}

async fn find(indexers: &IndexersOf) -> Result<Vec<IndexerOf>, Error> {
    let mut failures = 0;
    loop {
        match indexers.of_earlier_settings().await {
            Err(error) if error.remedy() == Remedy::Retry => {
                failures += 1;
                let delay = BETWEEN.delay(failures, rand::random());
                tracing::debug!(%error, failures, "looking for retry topics of earlier settings again in {delay:?}");
                sleep(delay).await;
            }
            found => return found,
        }
    }
}
