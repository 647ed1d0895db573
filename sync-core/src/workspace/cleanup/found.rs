//! What there is of workspaces.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::report::Report;
use crate::error::Error;
use crate::port::{Container, HostNames, Placement};
use crate::workspace::{Host, Site};

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// By host.
    pub(super) containers: Vec<(&'a Host, Vec<Container>)>,
    /// Hosts that said what they have.
    seen: BTreeSet<&'a str>,
    /// Names that are told, and where.
    pub(super) host_names: Vec<(String, &'a Arc<dyn HostNames>)>,
    pub(super) placements: Vec<Placement>,
}

impl<'a> Found<'a> {
    /// Asks everybody; who does not answer is told of.
    pub(super) async fn at(site: &'a Site, report: &mut Report) -> Self {
        let mut found = Self::default();
        let listed = join_all(site.hosts.iter().map(|host| host.containers.list())).await;
        for (host, listed) in site.hosts.iter().zip(listed) {
            if let Some(containers) = told(listed, report) {
                found.seen.insert(&host.name);
                found.containers.push((host, containers));
            }
        }
        if let Some(host_names) = &site.host_names {
            let named = told(host_names.list().await, report).unwrap_or_default();
            found.host_names = named.into_iter().map(|workspace| (workspace, host_names)).collect();
        }
        found.placements = told(site.placements.list().await, report).unwrap_or_default();
        found
    }

    /// The workspaces that have anything, each once.
    pub(super) fn workspaces(&self) -> Vec<String> {
        let containers = self.containers.iter().flat_map(|(_, containers)| containers);
        let containers = containers.map(|container| container.workspace.as_str());
        let placements = self.placements.iter().map(|placement| placement.workspace.as_str());
        let named = self.host_names.iter().map(|(workspace, _)| workspace.as_str());
        let all: BTreeSet<_> = containers.chain(placements).chain(named).collect();
        all.into_iter().map(str::to_owned).collect()
    }

    /// Whether it is known what that host has.
    pub(super) fn has_seen(&self, host: &str) -> bool {
        self.seen.contains(host)
    }

    /// How long a workspace has been placed. A name is told after it is, so one that is not placed is of before.
    pub(super) fn placed_for(&self, workspace: &str) -> Duration {
        let placed = self.placements.iter().find(|placement| placement.workspace == workspace);
        placed.map_or(Duration::MAX, |placement| placement.age)
    }
}

fn told<T>(answer: Result<T, Error>, report: &mut Report) -> Option<T> {
    answer.map_err(|error| report.failed.push(error.to_string())).ok()
}
