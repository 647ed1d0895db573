//! A run is recorded while it goes on: for people, and for whoever takes it up.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::mender::{DRAIN, Ended};
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

/// Records how far it has come, until it is told to stop. While the database is down, that is done later.
pub(super) async fn record(runs: &dyn Runs, run: &Run, shutdown: &CancellationToken) -> Result<(), Ended> {
    match shutdown.run_until_cancelled(runs.record(run)).await.ok_or(Ended::Stopped)? {
        Err(error) if error.kind() == ErrorKind::Fenced || error.remedy() != Remedy::Retry => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives a run back to whoever takes it up: its lease says the same later, so nobody waits long for that.
pub(super) async fn release(runs: &dyn Runs, run: &Run) -> Result<(), Error> {
    let late = |_| Err(Error::new(ErrorKind::Unavailable, "giving the run back took too long"));
    timeout(DRAIN, runs.release(run)).await.unwrap_or_else(late)
}
