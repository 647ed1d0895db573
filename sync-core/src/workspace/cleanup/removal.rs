//! Something that was found, and its removal.

use std::time::Duration;

use super::report::{Kind, Orphan};
use crate::error::Error;
use crate::port::{Container, HostNames, Placement};
use crate::workspace::{Host, Site};

/// Something that was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thing<'a> {
    Container(&'a Host, &'a Container),
    /// The name of this workspace.
    HostName(&'a str, &'a dyn HostNames),
    Placement(&'a Placement),
}

impl Thing<'_> {
    pub(super) fn workspace(&self) -> &str {
        match self {
            Self::Container(_, container) => &container.workspace,
            Self::HostName(workspace, _) => workspace,
            Self::Placement(placement) => &placement.workspace,
        }
    }

    /// As people are told of it.
    pub(super) fn orphan(&self, why: &'static str) -> Orphan {
        let (kind, place) = match self {
            Self::Container(host, _) => (Kind::Container, Some(host.name.clone())),
            Self::HostName(..) => (Kind::HostName, None),
            Self::Placement(placement) => (Kind::Placement, placement.address.map(|address| address.to_string())),
        };
        Orphan { kind, workspace: self.workspace().to_owned(), place, why }
    }

    /// Removes it. Of a container it is this very one: another one of the same workspace, of a later creation, stays.
    pub(super) async fn remove(&self, site: &Site) -> Result<(), Error> {
        match self {
            Self::Container(host, container) => host.containers.remove_container(&container.id).await,
            Self::HostName(workspace, host_names) => host_names.withdraw(workspace).await,
            Self::Placement(placement) => site.placements.remove(&placement.workspace).await,
        }
    }
}

/// Something that is to be removed.
#[derive(Debug)]
pub(super) struct Removal<'a> {
    pub(super) thing: Thing<'a>,
    /// How old it is.
    pub(super) age: Duration,
    pub(super) orphan: Orphan,
}
