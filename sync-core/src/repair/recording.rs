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

/// Records a run as done, whose work is. Whoever has it by now, or recorded its end when an answer was lost: nothing is left to do.
pub(super) async fn finish(runs: &dyn Runs, run: &Run, index: &str) -> Result<(), Error> {
    match runs.finish(run).await {
        Err(error) if error.kind() == ErrorKind::Fenced => {
            tracing::warn!(index, %error, "all was done, and the run was over already");
            Ok(())
        }
        finished => finished,
    }
}

/// Gives a run back to whoever takes it up: its lease says the same later, so nobody waits long for that.
pub(super) async fn release(runs: &dyn Runs, run: &Run) -> Result<(), Error> {
    let late = |_| Err(Error::new(ErrorKind::Unavailable, "giving the run back took too long"));
    timeout(DRAIN, runs.release(run)).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::memory::MemoryRuns;
    use crate::port::RunKind;

    #[tokio::test(start_paused = true)]
    async fn a_run_whose_end_was_recorded_although_nobody_heard_of_it_has_ended_well() {
        let runs = MemoryRuns::new(Duration::from_secs(15));
        let run = runs.begin(RunKind::Reconcile, "jobs").await.unwrap();
        runs.finish(&run).await.unwrap();
        finish(&runs, &run, "jobs").await.unwrap();
    }
}
