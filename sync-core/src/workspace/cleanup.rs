//! What nobody owns any more → removed.
//!
//! Asks what hosts have, then what the database says of those workspaces, in this order: what is made after the first question
//! is not looked at. Without an answer of the database nothing is removed. Takes no input, and may run in any number of
//! processes.

mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use metrics::counter;
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::verdict::{Verdict, verdict};
use super::{Host, Site};
use crate::error::{Error, ErrorKind};
use crate::port::{Container, Placement, Sighting, WorkspaceState, Workspaces};
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

/// Something that is cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A container on a host.
    Container,
    /// A name that is told to the world.
    HostName,
    /// The record of what a workspace occupies, its address among it.
    Placement,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::HostName => "host_name",
            Self::Placement => "placement",
        }
    }
}

/// Something that nobody owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Orphan {
    /// What it is.
    pub kind: Kind,
    /// The workspace it belonged to.
    pub workspace: String,
    /// The host it is on, of a container; the address or name, where a placement has one.
    pub place: Option<String>,
    /// Why nobody owns it: `gone` (the workspace has failed or was deleted) or `missing` (there is none).
    pub why: &'static str,
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, workspace, place, why } = self;
        write!(f, "{} of workspace {workspace}, which is {why}", kind.name())?;
        place.as_ref().map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What nobody owns, and was removed; or would have been.
    pub removed: Vec<Orphan>,
    /// What could not be looked at or removed, and why. It is tried again in the next round.
    pub failed: Vec<String>,
    /// Workspaces whose things were left alone because a transaction that writes them may not have committed.
    pub waiting: Vec<String>,
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

/// What there is.
#[derive(Debug, Default)]
struct Found<'a> {
    containers: Vec<(&'a Host, Container)>,
    /// Hosts that did not say what they have.
    silent: BTreeSet<&'a str>,
    host_names: Vec<String>,
    placements: Vec<Placement>,
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
        let found = self.find(&mut report).await;
        let ids: BTreeSet<_> = found.workspaces().map(str::to_owned).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(report);
        }
        let look = self.workspaces.look(&ids).await?;
        self.suspect(&look)?;
        let first_missed = self.note_missing(&ids, &look);
        let states: BTreeMap<_, _> = ids.iter().map(String::as_str).zip(look.states.iter().copied()).collect();
        let judge = |workspace: &str, age: Duration| {
            let state = states.get(workspace).copied().unwrap_or(WorkspaceState::Live);
            let missed = first_missed.get(workspace).copied().unwrap_or(look.unbegun_from);
            verdict(state, age, self.config.grace, missed, &look)
        };
        let mut round = Round { report, is_dry, kept: BTreeSet::new() };
        for (host, container) in &found.containers {
            let place = Some(host.name.clone());
            let verdict = judge(&container.workspace, container.age);
            let Some(orphan) = round.orphan(verdict, Kind::Container, &container.workspace, place) else { continue };
            round.remove(orphan, async || host.containers.remove(&container.workspace).await.map(|_| ())).await;
        }
        let ages: BTreeMap<_, _> = found.placements.iter().map(|one| (one.workspace.as_str(), one.age)).collect();
        for workspace in &found.host_names {
            // A name is told after the workspace is placed, so one that is not placed is of before.
            let age = ages.get(workspace.as_str()).copied().unwrap_or(Duration::MAX);
            let Some(orphan) = round.orphan(judge(workspace, age), Kind::HostName, workspace, None) else { continue };
            let Some(host_names) = &self.site.host_names else { continue };
            round.remove(orphan, async || host_names.withdraw(workspace).await).await;
        }
        for placement in &found.placements {
            let (workspace, place) = (&placement.workspace, placement.address.map(|address| address.to_string()));
            let verdict = judge(workspace, placement.age);
            // Nobody else gets its address while a container may use it.
            if round.kept.contains(workspace) || found.silent.contains(placement.host.as_str()) {
                continue;
            }
            let Some(orphan) = round.orphan(verdict, Kind::Placement, workspace, place) else { continue };
            round.remove(orphan, async || self.site.placements.remove(workspace).await).await;
        }
        Ok(round.report)
    }

    async fn find(&self, report: &mut Report) -> Found<'_> {
        let mut found = Found::default();
        let hosts = &self.site.hosts;
        for (host, listed) in hosts.iter().zip(join_all(hosts.iter().map(|host| host.containers.list())).await) {
            match listed {
                Ok(containers) => found.containers.extend(containers.into_iter().map(|container| (host, container))),
                Err(error) => {
                    found.silent.insert(&host.name);
                    report.failed.push(error.to_string());
                }
            }
        }
        if let Some(host_names) = &self.site.host_names {
            match host_names.list().await {
                Ok(listed) => found.host_names = listed,
                Err(error) => report.failed.push(error.to_string()),
            }
        }
        match self.site.placements.list().await {
            Ok(listed) => found.placements = listed,
            Err(error) => report.failed.push(error.to_string()),
        }
        found
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

impl Found<'_> {
    fn workspaces(&self) -> impl Iterator<Item = &str> {
        let containers = self.containers.iter().map(|(_, container)| container.workspace.as_str());
        let placements = self.placements.iter().map(|placement| placement.workspace.as_str());
        containers.chain(placements).chain(self.host_names.iter().map(String::as_str))
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
    /// What was found, if it is an orphan.
    fn orphan(&mut self, verdict: Verdict, kind: Kind, workspace: &str, place: Option<String>) -> Option<Orphan> {
        let why = match verdict {
            Verdict::Gone => "gone",
            Verdict::Missing => "missing",
            Verdict::Wait | Verdict::Keep => {
                if verdict == Verdict::Wait && !self.report.waiting.iter().any(|waiting| waiting == workspace) {
                    self.report.waiting.push(workspace.to_owned());
                }
                self.kept.insert(workspace.to_owned());
                return None;
            }
        };
        Some(Orphan { kind, workspace: workspace.to_owned(), place, why })
    }

    async fn remove(&mut self, orphan: Orphan, removing: impl AsyncFnOnce() -> Result<(), Error>) {
        if self.is_dry {
            self.report.removed.push(orphan);
            return;
        }
        match removing().await {
            Ok(()) => {
                tracing::info!("cleanup: removed the {orphan}");
                counter!(CLEANUP_REMOVED.name, "kind" => orphan.kind.name(), "why" => orphan.why).increment(1);
                self.report.removed.push(orphan);
            }
            Err(error) => {
                counter!(CLEANUP_FAILED.name, "kind" => orphan.kind.name()).increment(1);
                self.kept.insert(orphan.workspace.clone());
                self.report.failed.push(format!("the {orphan} could not be removed: {error}"));
            }
        }
    }
}
