//! Everything runs side by side; what cannot go on ends the rest in order.

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use crate::error::Error;

/// Runs all of it until `shutdown`, or until one part ends with an error; then the others end as on a shutdown.
pub(super) async fn all(pipeline: &Pipeline, shutdown: &CancellationToken) -> Result<(), Error> {
    // Of our own: whoever gave the other one goes on with what else it ends.
    let ending = shutdown.child_token();
    let relay = part(pipeline.relay.run(ending.clone()), &ending);
    let indexers = pipeline.indexers.iter().map(|(_, indexer)| part(indexer.run(ending.clone()), &ending));
    let alerts = async {
        if let Some(alerts) = &pipeline.alerts {
            alerts.run(ending.clone()).await;
        }
    };
    let (relay, indexers, ()) = tokio::join!(relay, join_all(indexers), alerts);
    indexers.into_iter().fold(relay, Result::and)
}

async fn part(running: impl Future<Output = Result<(), Error>>, ending: &CancellationToken) -> Result<(), Error> {
    let ended = running.await;
    ending.cancel();
    ended
}
