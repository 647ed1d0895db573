//! The role that compares indexes with the database when the schedule says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sync_core::port::{PastRun, RunKind, RunState, Runs};
use sync_core::repair::{DifferenceKind, Reconcile, ReconcileCounts, ReconcileEnd, ReconcileScope};
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::schedule::Schedule;

/// Longest sleep: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);

/// A change counts from when it was written, and is seen only when it is committed: so long a transaction may take.
const OVERLAP: Duration = Duration::from_secs(3_600);

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
        let mut served = Timestamp::now();
        while let Some(first) = next(&self.settings, served) {
            if !sleep_until(first.at, shutdown).await {
                return;
            }
            let due = latest(&self.settings, first, Timestamp::now());
            for (name, reconcile) in &self.indexes {
                match self.reconcile(name, reconcile, due, shutdown).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Fenced => {
                        tracing::info!(index = name, %error, "another process reconciles it");
                    }
                    Err(error) => {
                        tracing::error!(index = name, kind = error.kind().name(), %error, "not reconciled");
                    }
                }
            }
            served = due.at;
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
        let done = self.done(name).await?;
        let since = (!due.is_full).then(|| since(&self.settings, due.at, covered(&done)));
        if done.iter().any(|done| done.began_at >= due.at && done.since <= since.unwrap_or(Timestamp::MIN)) {
            tracing::info!(index = name, "another process has reconciled it");
            return Ok(());
        }
        let scope = ReconcileScope::default().since(since);
        if reconcile.run(&scope, shutdown.clone()).await? == ReconcileEnd::Stopped {
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
            reconciliation.parked = counts.parked,
            reconciliation.unrepaired = counts.unrepaired,
            missing = of(DifferenceKind::Missing),
            stale = of(DifferenceKind::Stale),
            orphan = of(DifferenceKind::Orphan),
            ahead = of(DifferenceKind::Ahead),
            drifted = of(DifferenceKind::Drifted),
            in_flight = counts.in_flight,
            dead_lettered = counts.dead_lettered,
            unreadable = counts.unreadable,
            "reconciled"
        );
        Ok(())
    }

    /// The last comparisons that came to their end, the newest first.
    async fn done(&self, name: &str) -> Result<Vec<Done>, Error> {
        let past = self.runs.list(Some(name), RECENT).await?;
        let of = |past: &PastRun| past.kind == RunKind::Reconcile.name() && past.state == RunState::Finished;
        let done = past.into_iter().filter(of).filter_map(|past| {
            let since = ReconcileCounts::since_of(&past.run.counts)?;
            Some(Done { began_at: past.run.began_at, since })
        });
        Ok(done.collect())
    }
}

/// A comparison that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Done {
    began_at: Timestamp,
    /// What changed since then was compared.
    since: Timestamp,
}

/// The nearer of both schedules; at the same time everything is compared.
fn next(settings: &config::Reconcile, after: Timestamp) -> Option<Due> {
    let due = |schedule: &Option<Schedule>, is_full| {
        schedule.as_ref().and_then(|schedule| schedule.next(after)).map(|at| Due { at, is_full })
    };
    let (full, lately) = (due(&settings.full_schedule, true), due(&settings.schedule, false));
    full.into_iter().chain(lately).min_by_key(|due| due.at)
}

/// Of those that came due while there was something else to do one is done: everything, if one of them was that.
fn latest(settings: &config::Reconcile, mut due: Due, now: Timestamp) -> Due {
    while let Some(later) = next(settings, due.at).filter(|later| later.at <= now) {
        due = Due { at: later.at, is_full: due.is_full || later.is_full };
    }
    due
}

/// Until when everything that changed was compared: by comparisons that each began where the one before it had come, or
/// earlier. Told the newest first.
fn covered(done: &[Done]) -> Option<Timestamp> {
    let further = |until: Option<Timestamp>, done: &Done| match until {
        Some(until) if done.since > until => Some(until),
        _ => Some(done.began_at),
    };
    done.iter().rev().fold(None, further)
}

/// From when on changes are compared: nothing is left out between two comparisons, however long one had to wait.
fn since(settings: &config::Reconcile, at: Timestamp, covered: Option<Timestamp>) -> Timestamp {
    let lately = at.checked_sub(settings.window).unwrap_or(Timestamp::MIN);
    let from = covered.map_or(lately, |covered| covered.min(lately));
    from.checked_sub(OVERLAP).unwrap_or(Timestamp::MIN)
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
        assert_eq!(since(&settings, due, None), at("2026-11-28T02:00:00Z"));
        assert_eq!(since(&settings, due, Some(at("2026-11-28T21:00:00Z"))), at("2026-11-28T02:00:00Z"));
        assert_eq!(since(&settings, due, Some(at("2026-11-20T03:00:00Z"))), at("2026-11-20T02:00:00Z"));
    }

    #[test]
    fn a_comparison_of_the_last_hour_covers_no_day() {
        let done = |began_at, since| Done { began_at: at(began_at), since: at(since) };
        let night = done("2026-11-25T03:00:00Z", "2026-11-24T02:00:00Z");
        let by_hand = done("2026-11-28T12:00:00Z", "2026-11-28T11:00:00Z");
        assert_eq!(covered(&[by_hand, night]), Some(night.began_at));
        let full = Done { began_at: at("2026-11-28T13:00:00Z"), since: Timestamp::MIN };
        assert_eq!(covered(&[full, by_hand, night]), Some(full.began_at));
        assert_eq!(covered(&[]), None);
    }

    #[test]
    fn what_came_due_during_another_comparison_is_done_after_it() {
        let settings = config::Reconcile::default();
        let nightly = next(&settings, at("2026-11-29T02:00:00Z")).unwrap();
        assert!(!nightly.is_full);
        let both = latest(&settings, nightly, at("2026-11-29T04:10:00Z"));
        assert_eq!(both, Due { at: at("2026-11-29T04:00:00Z"), is_full: true });
        assert_eq!(latest(&settings, nightly, at("2026-11-29T03:00:01Z")), nightly);
        assert!(latest(&settings, nightly, at("2026-11-30T12:00:00Z")).is_full, "the night after it included");
    }
}
