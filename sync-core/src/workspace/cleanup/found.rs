//! What hosts, the directory of names and the placements have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::report::Report;
use crate::error::Error;
use crate::port::{Container, HostNames, Placement};
use crate::workspace::{Host, Site};

/// All that is of workspaces.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Of each host that said what it has.
    pub(super) containers: Vec<(&'a Host, Vec<Container>)>,
    /// Workspaces whose names are told, and where; `None` when that was not said.
    host_names: Option<(Vec<String>, &'a dyn HostNames)>,
    pub(super) placements: Vec<Placement>,
}

impl<'a> Found<'a> {
    /// Asks everybody; who does not answer is told of.
    pub(super) async fn at(site: &'a Site, report: &mut Report) -> Self {
        let mut containers = Vec::new();
        let listed = join_all(site.hosts.iter().map(|host| host.containers.list())).await;
        for (host, listed) in site.hosts.iter().zip(listed) {
            containers.extend(or_noted(listed, report).map(|listed| (host, listed)));
        }
        let mut host_names = None;
        if let Some(told) = &site.host_names {
            host_names = or_noted(told.list().await, report).map(|listed| (listed, told.as_ref()));
        }
        let placements = or_noted(site.placements.list().await, report).unwrap_or_default();
        Self { containers, host_names, placements }
    }

    /// The workspaces that have anything, sorted, each once.
    pub(super) fn workspaces(&self) -> Vec<String> {
        let containers = self.containers.iter().flat_map(|(_, containers)| containers);
        let containers = containers.map(|container| container.workspace.as_str());
        let placements = self.placements.iter().map(|placement| placement.workspace.as_str());
        let named = self.host_names.iter().flat_map(|(named, _)| named).map(String::as_str);
        let all: BTreeSet<_> = containers.chain(placements).chain(named).collect();
        all.into_iter().map(str::to_owned).collect()
    }

    /// Whether it is known what there is where this placement says that something may be.
    pub(super) fn has_seen_all_of(&self, placement: &Placement) -> bool {
        let has_seen_host = self.containers.iter().any(|(seen, _)| seen.name == placement.host);
        has_seen_host && (placement.host_name.is_none() || self.host_names.is_some())
    }

    /// How old each name is, at least: as old as the placement. A workspace is placed before its name is published, so a name
    /// without a placement is a leftover, and old enough.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &'a dyn HostNames, Duration)> {
        let placed: BTreeMap<_, _> = self.placements.iter().map(|one| (one.workspace.as_str(), one.age)).collect();
        let all = self.host_names.iter().flat_map(|(named, told)| named.iter().map(|workspace| (workspace, *told)));
        all.map(move |(workspace, told)| {
            (workspace.as_str(), told, placed.get(workspace.as_str()).copied().unwrap_or(Duration::MAX))
        })
    }
}

fn or_noted<T>(answer: Result<T, Error>, report: &mut Report) -> Option<T> {
    answer.map_err(|error| report.failed.push(error.to_string())).ok()
}
