//! What nobody owns any more → removed.
//!
//! ```text
//!  what hosts have ──▶ what the database says of it ──▶ orphans ──▶ the database once more ──▶ removed
//! ```
//!
//! In this order: what is made after the first question is not looked at. Without an answer of the database nothing is
//! removed. Takes no input, and may run in any number of processes.

mod found;
mod report;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use metrics::counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::found::Found;
pub use self::report::{Kind, Orphan, Report};
use self::verdict::{Verdict, verdict};
use super::{Host, Site};
use crate::error::{Error, ErrorKind};
use crate::port::{HostNames, Placement, Sighting, WorkspaceState, Workspaces};
use crate::telemetry::metrics::{CLEANUP_FAILED, CLEANUP_REMOVED};

/// When what nobody owns is removed.
#[derive(Clone, Copy, Debug)]
pub struct CleanupConfig {
    /// Between two rounds.
    pub interval: Duration,
    /// What is younger is left alone when its workspace is missing: the transaction that writes it may not have committed.
    pub grace: Duration,
    /// When the database knows none of so many workspaces or more, it is taken for the wrong one, and nothing is removed.
    pub suspicious: usize,
}

impl Default for CleanupConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), grace: Duration::from_secs(60), suspicious: 10 }
    }
}

/// Removes what nobody owns.
#[derive(Debug)]
pub struct Cleanup {
    site: Arc<Site>,
    workspaces: Arc<dyn Workspaces>,
    config: CleanupConfig,
    /// Of workspaces that are missing: transactions from this one on began after they were missed first.
    missed: Mutex<BTreeMap<String, u64>>,
}

impl Cleanup {
    /// Does nothing until it is run.
    #[must_use]
    pub fn new(site: Arc<Site>, workspaces: Arc<dyn Workspaces>, config: CleanupConfig) -> Self {
        Self { site, workspaces, config, missed: Mutex::default() }
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

    /// One round; a dry run removes nothing and says what it would.
    ///
    /// # Errors
    /// Whatever the database says when it cannot be asked; `Contract` when it looks like the wrong one. Nothing is removed
    /// then.
    pub async fn round(&self, is_dry: bool) -> Result<Report, Error> {
        let mut report = Report::default();
        let found = Found::at(&self.site, &mut report).await;
        let ids = found.workspaces();
        if ids.is_empty() {
            return Ok(report);
        }
        let look = self.workspaces.look(&ids).await?;
        self.suspect(&look)?;
        let missed = self.note_missing(&ids, &look);
        let judge = Judge { config: self.config, missed, ids: &ids, look };
        let mut round = Round { report, kept: BTreeSet::new() };

        let mut of_hosts = Vec::new();
        for (host, containers) in &found.containers {
            let mut removals = Vec::new();
            for container in containers {
                let (workspace, place) = (container.workspace.as_str(), Some(host.name.clone()));
                let target = Target::Container(host, &container.id);
                removals.extend(round.orphan(&judge, Kind::Container, workspace, container.age, place, target));
            }
            of_hosts.push(self.carry_out(removals, &judge, is_dry));
        }
        // A host that says nothing holds up no other.
        join_all(of_hosts).await.into_iter().flatten().for_each(|outcome| round.note(outcome));

        let mut removals = Vec::new();
        for (workspace, host_names) in &found.host_names {
            let (age, target) = (found.placed_for(workspace), Target::HostName(&***host_names));
            removals.extend(round.orphan(&judge, Kind::HostName, workspace, age, None, target));
        }
        self.carry_out(removals, &judge, is_dry).await.into_iter().for_each(|outcome| round.note(outcome));

        let mut removals = Vec::new();
        for placement in &found.placements {
            let (workspace, place) = (&placement.workspace, placement.address.map(|address| address.to_string()));
            let orphan = round.orphan(&judge, Kind::Placement, workspace, placement.age, place, Target::Placement);
            removals.extend(orphan.filter(|_| self.may_be_forgotten(placement, &found, &mut round)));
        }
        self.carry_out(removals, &judge, is_dry).await.into_iter().for_each(|outcome| round.note(outcome));
        Ok(round.report)
    }

    /// Nobody else gets the address of a workspace while a container may use it.
    fn may_be_forgotten(&self, placement: &Placement, found: &Found<'_>, round: &mut Round) -> bool {
        let Placement { workspace, host, .. } = placement;
        if self.site.host(host).is_err() {
            let what = format!(
                "the placement of workspace {workspace} stays: its container may be on host {host}, which workspaces.hosts does \
                 not have; once that is gone, `delete from outbox.placements where host = '{host}'`"
            );
            round.report.failed.push(what);
        }
        found.has_seen(host) && !round.kept.contains(workspace)
    }

    /// Removes these, one after the other; what has an owner by now is left alone.
    async fn carry_out<'a>(&self, removals: Vec<Removal<'a>>, judge: &Judge<'_>, is_dry: bool) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for Removal { orphan, age, target } in removals {
            let removed = if is_dry { Ok(true) } else { self.remove(&orphan, age, target, judge).await };
            outcomes.push(Outcome { orphan, removed, is_dry });
        }
        outcomes
    }

    /// Whether it was removed: between the look and now somebody may have come, where a host took its time.
    async fn remove(
        &self,
        orphan: &Orphan,
        age: Duration,
        target: Target<'_>,
        judge: &Judge<'_>,
    ) -> Result<bool, Error> {
        let workspace = &orphan.workspace;
        let look = self.workspaces.look(std::slice::from_ref(workspace)).await?;
        if judge.again(workspace, age, &look).why().is_none() {
            return Ok(false);
        }
        match target {
            // This very one: another one of the same workspace, of a later creation, stays.
            Target::Container(host, id) => host.containers.remove_one(id).await?,
            Target::HostName(host_names) => host_names.withdraw(workspace).await?,
            Target::Placement => self.site.placements.remove(workspace).await?,
        }
        Ok(true)
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
             `sync-runner workspace cleanup --force` removes them"
        );
        Err(Error::new(ErrorKind::Contract, what))
    }

    /// When each workspace that is missing was missed first.
    fn note_missing(&self, ids: &[String], look: &Sighting) -> BTreeMap<String, u64> {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = ids.iter().zip(&look.states).filter(|(_, state)| **state == WorkspaceState::Missing);
        let first = |id: &String| missed.get(id).copied().unwrap_or(look.unbegun_from);
        *missed = now.map(|(id, _)| (id.clone(), first(id))).collect();
        missed.clone()
    }
}

/// What is known of the workspaces that have anything.
struct Judge<'a> {
    config: CleanupConfig,
    /// When those that are missing were missed first.
    missed: BTreeMap<String, u64>,
    ids: &'a [String],
    look: Sighting,
}

impl Judge<'_> {
    fn verdict(&self, workspace: &str, age: Duration) -> Verdict {
        let place = self.ids.iter().position(|id| id == workspace);
        let state = place.and_then(|place| self.look.states.get(place)).copied();
        self.of(workspace, state, age, &self.look)
    }

    /// The verdict after a later look at this one alone.
    fn again(&self, workspace: &str, age: Duration, look: &Sighting) -> Verdict {
        self.of(workspace, look.states.first().copied(), age, look)
    }

    fn of(&self, workspace: &str, state: Option<WorkspaceState>, age: Duration, look: &Sighting) -> Verdict {
        let missed = self.missed.get(workspace).copied().unwrap_or(look.unbegun_from);
        verdict(state.unwrap_or(WorkspaceState::Live), age, self.config.grace, missed, look)
    }
}

/// Something that is to be removed.
struct Removal<'a> {
    orphan: Orphan,
    age: Duration,
    target: Target<'a>,
}

/// Where it is.
enum Target<'a> {
    Container(&'a Host, &'a str),
    HostName(&'a dyn HostNames),
    Placement,
}

/// What became of it.
struct Outcome {
    orphan: Orphan,
    /// Whether it was removed, or has an owner by now.
    removed: Result<bool, Error>,
    is_dry: bool,
}

/// A round that is under way.
struct Round {
    report: Report,
    /// Workspaces that still have something that could not be removed, or is not an orphan.
    kept: BTreeSet<String>,
}

impl Round {
    /// What was found, if it is an orphan.
    fn orphan<'a>(
        &mut self,
        judge: &Judge<'_>,
        kind: Kind,
        workspace: &str,
        age: Duration,
        place: Option<String>,
        target: Target<'a>,
    ) -> Option<Removal<'a>> {
        let verdict = judge.verdict(workspace, age);
        let Some(why) = verdict.why() else {
            if verdict == Verdict::Wait && !self.report.waiting.iter().any(|waiting| waiting == workspace) {
                self.report.waiting.push(workspace.to_owned());
            }
            self.kept.insert(workspace.to_owned());
            return None;
        };
        Some(Removal { orphan: Orphan { kind, workspace: workspace.to_owned(), place, why }, age, target })
    }

    fn note(&mut self, Outcome { orphan, removed, is_dry }: Outcome) {
        match removed {
            Ok(true) => {
                if !is_dry {
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

#[cfg(test)]
mod tests;
