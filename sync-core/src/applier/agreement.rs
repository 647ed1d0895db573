//! Index and database agree on the history before anything is written, and look again now and then.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::gate::{Condition, Gate};
use crate::error::{Error, ErrorKind};
use crate::port::{History, Projection, Sink};

/// How long nobody looks whether another indexer has recorded a later history. Until then the guard alone keeps what
/// is written in the earlier one from winning.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What was agreed upon, and when.
#[derive(Debug, Default)]
pub(super) struct Agreement(Mutex<Option<(History, Instant)>>);

impl Agreement {
    /// Returns once the index has recorded the history the rows are read in.
    pub(super) async fn reach(&self, projection: &dyn Projection, sink: &dyn Sink, gate: &Gate) -> Result<(), Error> {
        let mut agreed = self.0.lock().await;
        if agreed.as_ref().is_some_and(|(_, at)| at.elapsed() < LOOK_AGAIN) {
            return Ok(());
        }
        let before = agreed.take();
        let pass = gate.enter().await;
        let recorded = sink.history().await;
        let is_down = matches!(&recorded, Err(error) if error.kind() == ErrorKind::Unavailable);
        pass.leave(if is_down { Condition::Overloaded } else { Condition::Well });
        let recorded = recorded?;
        if recorded.is_none() && sink.is_foreign().await? {
            return Err(foreign());
        }
        let present = projection.agree(recorded.as_ref()).await?;
        if recorded.as_ref() != Some(&present) {
            sink.record(&present).await?;
        }
        if before.is_none_or(|(before, _)| before != present) {
            tracing::info!(epoch = present.epoch, "index and database agree on the epoch");
        }
        *agreed = Some((present, Instant::now()));
        Ok(())
    }

    /// It may be over: look again before anything else is written.
    pub(super) async fn doubt(&self) {
        *self.0.lock().await = None;
    }
}

/// An index records a history before its first document. What is in one that has none was written by something else, under
/// versions that mean nothing here: whatever changes would be taken for older, and nobody would be told.
fn foreign() -> Error {
    let what = "the index holds documents that something else wrote, whose versions cannot be compared with the outbox's: \
                `sync-runner reindex` (`repair::Reindex`) makes it anew, or name another alias and run a backfill";
    Error::new(ErrorKind::Configuration, what)
}
