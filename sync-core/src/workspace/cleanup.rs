//! What nobody owns any more → removed.
//!
//! ```text
//!  what hosts have ──▶ what the database says of it ──▶ orphans ──▶ the database once more ──▶ removed
//! ```
//!
//! In this order: what is made after the first question is not looked at. Without an answer of the database nothing is
//! removed. Takes no input, and may run in any number of processes.

mod found;
mod removal;
mod report;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use metrics::counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::found::Found;
use self::removal::{Removal, Thing};
pub use self::report::{Kind, Orphan, Report};
use self::verdict::{Judge, Verdict};
use super::Site;
use crate::error::{Error, ErrorKind};
use crate::port::{Placement, Sighting, WorkspaceState};
use crate::telemetry::metrics::{CLEANUP_FAILED, CLEANUP_REMOVED};

/// When what nobody owns is removed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CleanupConfig {
    /// Between two rounds; 60 seconds unless said.
    pub interval: Duration,
    /// What is younger is left alone when its workspace is missing, because the transaction that writes it may not have
    /// committed; 60 seconds unless said.
    pub grace: Duration,
    /// When the database knows none of so many workspaces or more, it is taken for the wrong one, and nothing is removed;
    /// 10 unless said.
    pub suspicious: usize,
}

impl Default for CleanupConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), grace: Duration::from_secs(60), suspicious: 10 }
    }
}

setters! {
    CleanupConfig {
        interval: Duration,
        grace: Duration,
        suspicious: usize,
    }
}

/// Removes what nobody owns.
#[derive(Debug)]
pub struct Cleanup {
    site: Arc<Site>,
    config: CleanupConfig,
    /// Of workspaces that are missing: transactions from this one on began after they were missed first.
    missed: Mutex<BTreeMap<String, u64>>,
}

impl Cleanup {
    /// Does nothing until it is run.
    #[must_use]
    pub fn new(site: Arc<Site>, config: CleanupConfig) -> Self {
        for kind in [Kind::Container, Kind::HostName, Kind::Placement] {
            for why in ["gone", "missing"] {
                counter!(CLEANUP_REMOVED.name, "kind" => kind.name(), "why" => why).increment(0);
            }
            counter!(CLEANUP_FAILED.name, "kind" => kind.name()).increment(0);
        }
        Self { site, config, missed: Mutex::default() }
    }

    /// Runs until `shutdown`, a round each interval. Whatever fails is logged and tried again in the next one. Dropping it
    /// leaves nothing half-done that the next round would not find.
    pub async fn run(&self, shutdown: CancellationToken) {
        let rounds = async {
            loop {
                match self.round(false).await {
                    Ok(report) => report.failed.iter().for_each(|failed| tracing::warn!("cleanup: {failed}")),
                    Err(error) => tracing::warn!(%error, "cleanup: nothing was removed"),
                }
                sleep(self.config.interval).await;
            }
        };
        shutdown.run_until_cancelled(rounds).await.unwrap_or_default()
    }

    /// One round; a dry run removes nothing and says what it would. Dropped half-way, some of it is removed; the next round
    /// finds the rest.
    ///
    /// # Errors
    /// Whatever the database says when it cannot be asked; `Contract` when it looks like the wrong one. Nothing is removed
    /// then. What fails later is in the report.
    pub async fn round(&self, is_dry: bool) -> Result<Report, Error> {
        let mut report = Report::default();
        let found = Found::at(&self.site, &mut report).await;
        let ids = found.workspaces();
        if ids.is_empty() {
            self.missed().clear();
            return Ok(report);
        }
        let look = self.site.workspaces.look(&ids).await?;
        self.suspect(&look)?;
        let missed = self.note_missing(&ids, &look);
        let judge = Judge { grace: self.config.grace, ids: &ids, look, missed };
        let mut round = Round { report, is_dry, kept: BTreeSet::new() };

        let mut by_host = Vec::new();
        for (host, containers) in &found.containers {
            let things = containers.iter().map(|container| (Thing::Container(host, container), container.age));
            by_host.push(round.orphans(&judge, things));
        }
        // A host that is slow to remove holds up no other host's removals.
        let removed = join_all(by_host.into_iter().map(|removals| self.remove_all(removals, &judge, is_dry))).await;
        round.note(removed.into_iter().flatten());

        let named = found.names().map(|(workspace, host_names, age)| (Thing::HostName(workspace, host_names), age));
        let removals = round.orphans(&judge, named);
        round.note(self.remove_all(removals, &judge, is_dry).await);

        round.report.failed.extend(found.placements.iter().filter_map(|placement| self.lost(placement, &judge)));
        // Nobody else gets the address of a workspace while a container may use it, nor its name while it is told.
        let kept = round.kept.clone();
        let free = found.placements.iter().filter(|one| found.has_seen_all_of(one) && !kept.contains(&one.workspace));
        let removals = round.orphans(&judge, free.map(|placement| (Thing::Placement(placement), placement.age)));
        round.note(self.remove_all(removals, &judge, is_dry).await);
        Ok(round.report)
    }

    /// Removes these, one after the other, and says of each whether it did: what has an owner by now is left alone.
    async fn remove_all(
        &self,
        removals: Vec<Removal<'_>>,
        judge: &Judge<'_>,
        is_dry: bool,
    ) -> Vec<(Orphan, Result<bool, Error>)> {
        let mut outcomes = Vec::new();
        for removal in removals {
            let removed = if is_dry { Ok(true) } else { self.remove(&removal, judge).await };
            outcomes.push((removal.orphan, removed));
        }
        outcomes
    }

    /// Between the first look and now somebody may have come, where a host took its time.
    async fn remove(&self, Removal { thing, age, orphan }: &Removal<'_>, judge: &Judge<'_>) -> Result<bool, Error> {
        let look = self.site.workspaces.look(std::slice::from_ref(&orphan.workspace)).await?;
        if judge.verdict_by(&look, &orphan.workspace, *age).why().is_none() {
            return Ok(false);
        }
        thing.remove(&self.site).await.map(|()| true)
    }

    /// What is told of a placement that nobody owns and that stays, because it is not configured where its things are.
    fn lost(&self, placement: &Placement, judge: &Judge<'_>) -> Option<String> {
        let Placement { workspace, host, .. } = placement;
        judge.verdict(workspace, placement.age).why()?;
        let why = if self.site.host(host).is_err() {
            format!("its container may be on host {host}, which workspaces.hosts does not have")
        } else if placement.host_name.is_some() && self.site.host_names.is_none() {
            "its name may be told in a directory, and workspaces.host_names has none".to_owned()
        } else {
            return None;
        };
        let mend = format!("once that is gone, `delete from outbox.placements where workspace = '{workspace}'`");
        Some(format!("the placement of workspace {workspace} stays: {why}; {mend}"))
    }

    /// A database that has never heard of any of many workspaces is the wrong one, or an empty one.
    fn suspect(&self, look: &Sighting) -> Result<(), Error> {
        let missing = look.states.iter().filter(|state| **state == WorkspaceState::Missing).count();
        if missing < look.states.len() || missing < self.config.suspicious.max(1) {
            return Ok(());
        }
        let what = format!(
            "the database knows none of {missing} workspaces that have containers, addresses or names: that looks like the \
             wrong database, or a wrong statement in workspaces.known, and nothing is removed; if it is right, \
             `sync-runner workspace cleanup --force` (a larger `CleanupConfig::suspicious`) removes them"
        );
        Err(Error::new(ErrorKind::Contract, what))
    }

    fn missed(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When each workspace that is missing was missed first.
    fn note_missing(&self, ids: &[String], look: &Sighting) -> BTreeMap<String, u64> {
        let mut missed = self.missed();
        let now = ids.iter().zip(&look.states).filter(|(_, state)| **state == WorkspaceState::Missing);
        let first = |id: &String| missed.get(id).copied().unwrap_or(look.unbegun_from);
        *missed = now.map(|(id, _)| (id.clone(), first(id))).collect();
        missed.clone()
    }
}

/// A round that is under way.
struct Round {
    report: Report,
    is_dry: bool,
    /// Workspaces that still have something that could not be removed, or is not an orphan.
    kept: BTreeSet<String>,
}

impl Round {
    /// Those of the things, each with its age, that are orphans.
    fn orphans<'a>(
        &mut self,
        judge: &Judge<'_>,
        things: impl Iterator<Item = (Thing<'a>, Duration)>,
    ) -> Vec<Removal<'a>> {
        let mut removals = Vec::new();
        for (thing, age) in things {
            let workspace = thing.workspace();
            let verdict = judge.verdict(workspace, age);
            if let Some(why) = verdict.why() {
                removals.push(Removal { thing, age, orphan: thing.orphan(why) });
                continue;
            }
            if verdict == Verdict::Wait && !self.report.waiting.iter().any(|waiting| waiting == workspace) {
                self.report.waiting.push(workspace.to_owned());
            }
            self.kept.insert(workspace.to_owned());
        }
        removals
    }

    /// What became of orphans: whether each was removed, or has an owner by now.
    fn note(&mut self, outcomes: impl IntoIterator<Item = (Orphan, Result<bool, Error>)>) {
        for (orphan, removed) in outcomes {
            match removed {
                Ok(true) => {
                    if !self.is_dry {
                        tracing::info!("cleanup: removed the {orphan}");
                        counter!(CLEANUP_REMOVED.name, "kind" => orphan.kind.name(), "why" => orphan.why).increment(1);
                    }
                    self.report.removed.push(orphan);
                }
                Ok(false) => drop(self.kept.insert(orphan.workspace)),
                Err(error) => {
                    counter!(CLEANUP_FAILED.name, "kind" => orphan.kind.name()).increment(1);
                    self.report.failed.push(format!("the {orphan} could not be removed: {error}"));
                    self.kept.insert(orphan.workspace);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
