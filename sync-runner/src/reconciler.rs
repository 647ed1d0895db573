//! The role that compares indexes with the database when the schedule says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sync_core::port::{RunKind, Runs};
use sync_core::repair::{DifferenceKind, Reconcile, ReconcileEnd, ReconcileScope};
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config;

/// Longest sleep: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);

/// Runs of an index among which the last comparison is looked for.
const RECENT: usize = 50;

/// What is compared, and when.
#[derive(Debug)]
pub(crate) struct Reconciler {
    pub(crate) settings: config::Reconcile,
    pub(crate) runs: Arc<dyn Runs>,
    pub(crate) indexes: Vec<(String, Reconcile)>,
}

/// The next time, and whether everything is compared then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    at: Timestamp,
    is_full: bool,
}

impl Reconciler {
    /// Works until `shutdown`. What fails is logged, and done again the next time.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        while let Some(due) = next(&self.settings, Timestamp::now()) {
            if !sleep_until(due.at, shutdown).await {
                return;
            }
            for (name, reconcile) in &self.indexes {
                if let Err(error) = self.reconcile(name, reconcile, due, shutdown).await {
                    if error.kind() == ErrorKind::Fenced {
                        tracing::info!(index = name, "another process reconciles it");
                    } else {
                        tracing::error!(index = name, kind = error.kind().name(), %error, "not reconciled");
                    }
                }
            }
        }
        shutdown.cancelled().await;
    }

    async fn reconcile(
        &self,
        name: &str,
        reconcile: &Reconcile,
        due: Due,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let last = self.last(name).await?;
        if last.is_some_and(|last| last >= due.at) {
            return Err(Error::new(ErrorKind::Fenced, "it was done by another process"));
        }
        let since = (!due.is_full).then(|| since(&self.settings, due.at, last));
        let scope = ReconcileScope { since, deep: false, dry_run: false };
        if reconcile.run(&scope, shutdown).await? == ReconcileEnd::Stopped {
            return Ok(());
        }
        let counts = reconcile.progress().counts();
        let of = |kind| counts.of(kind);
        tracing::info!(
            index = name,
            is_full = due.is_full,
            compared = counts.compared,
            listed = counts.listed,
            reconciliation.fixed = counts.fixed,
            parked = counts.parked,
            unrepaired = counts.unrepaired,
            missing = of(DifferenceKind::Missing),
            stale = of(DifferenceKind::Stale),
            orphan = of(DifferenceKind::Orphan),
            ahead = of(DifferenceKind::Ahead),
            drifted = of(DifferenceKind::Drifted),
            in_flight = counts.in_flight,
            dead_lettered = counts.dead_lettered,
            "reconciled"
        );
        Ok(())
    }

    /// When the last comparison that came to its end began.
    async fn last(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        let past = self.runs.list(Some(name), RECENT).await?;
        let is_done = |kind: &str, ended: bool, given_up: bool| kind == RunKind::Reconcile.name() && ended && !given_up;
        let done = past.iter().filter(|past| is_done(&past.kind, past.ended_at.is_some(), past.was_abandoned));
        Ok(done.map(|past| past.run.began_at).max())
    }
}

/// The nearer of both schedules; at the same time everything is compared.
fn next(settings: &config::Reconcile, now: Timestamp) -> Option<Due> {
    let due = |schedule: &Option<crate::schedule::Schedule>, is_full| {
        schedule.as_ref().and_then(|schedule| schedule.next(now)).map(|at| Due { at, is_full })
    };
    let (full, lately) = (due(&settings.full_schedule, true), due(&settings.schedule, false));
    full.into_iter().chain(lately).min_by_key(|due| due.at)
}

/// From when on changes are compared: nothing is left out between two comparisons, however long one had to wait.
fn since(settings: &config::Reconcile, at: Timestamp, last: Option<Timestamp>) -> Timestamp {
    let lately = at.checked_sub(settings.window).unwrap_or(Timestamp::UNIX_EPOCH);
    let unseen = last.and_then(|last| last.checked_sub(settings.grace).ok()).unwrap_or(lately);
    lately.min(unseen)
}

/// Whether the time came before the shutdown.
async fn sleep_until(at: Timestamp, shutdown: &CancellationToken) -> bool {
    loop {
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        if left.is_zero() {
            return !shutdown.is_cancelled();
        }
        if shutdown.run_until_cancelled(sleep(left.min(NAP))).await.is_none() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn what_changed_lately_is_due_every_night_and_everything_on_sundays() {
        let settings = config::Reconcile::default();
        let due = |now| next(&settings, at(now)).unwrap();
        assert_eq!(due("2026-11-28T12:00:00Z"), Due { at: at("2026-11-29T03:00:00Z"), is_full: false });
        assert_eq!(due("2026-11-29T03:00:00Z"), Due { at: at("2026-11-29T04:00:00Z"), is_full: true });
        let never = config::Reconcile { schedule: None, full_schedule: None, ..settings };
        assert_eq!(next(&never, at("2026-11-28T12:00:00Z")), None);
    }

    #[test]
    fn of_two_at_the_same_time_everything_is_compared() {
        let settings = config::Reconcile::default();
        let both = config::Reconcile { full_schedule: settings.schedule.clone(), ..settings };
        assert!(next(&both, at("2026-11-28T12:00:00Z")).unwrap().is_full);
    }

    #[test]
    fn no_change_falls_between_two_comparisons_however_far_apart_they_are() {
        let settings = config::Reconcile::default();
        let due = at("2026-11-29T03:00:00Z");
        assert_eq!(since(&settings, due, None), at("2026-11-28T03:00:00Z"));
        assert_eq!(since(&settings, due, Some(at("2026-11-28T21:00:00Z"))), at("2026-11-28T03:00:00Z"));
        assert_eq!(since(&settings, due, Some(at("2026-11-20T03:00:00Z"))), at("2026-11-20T02:59:00Z"));
    }
}
