//! What is told of a round.

use std::fmt;

use serde::Serialize;

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
#[non_exhaustive]
pub struct Orphan {
    /// What it is.
    pub kind: Kind,
    /// The workspace it belonged to.
    pub workspace: String,
    /// The host it is on, of a container; the address, where a placement has one.
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
#[non_exhaustive]
pub struct Report {
    /// What nobody owns, and was removed; or would have been.
    pub removed: Vec<Orphan>,
    /// What could not be looked at or removed, and why. It is tried again in the next round.
    pub failed: Vec<String>,
    /// Workspaces whose things were left alone because a transaction that writes them may not have committed.
    pub waiting: Vec<String>,
}
