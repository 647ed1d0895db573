//! A run is recorded while it goes on: for people, and for whoever takes it up.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{Run, Runs};

/// How often it is recorded how far a run has come.
const RECORD: Duration = Duration::from_secs(1);

/// When it is time to record.
pub(super) fn ticks() -> Interval {
    let mut ticks = interval(RECORD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Records how far it has come. While the database is down, that is done later.
pub(super) async fn record(runs: &dyn Runs, run: &Run) -> Result<(), Error> {
    match runs.record(run).await {
        Err(error) if error.kind() == ErrorKind::Fenced || error.remedy() != Remedy::Retry => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
