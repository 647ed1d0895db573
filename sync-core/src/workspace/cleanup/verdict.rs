//! Whether what was found is an orphan. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::port::{Sighting, WorkspaceState};

/// What becomes of what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its workspace is there, or is worked on.
    Keep,
    /// Its workspace may be there as soon as a transaction commits.
    Wait,
    /// Nobody owns it: the workspace has failed or was deleted.
    Gone,
    /// Nobody owns it: there is no such workspace.
    Missing,
}

impl Verdict {
    /// Why nobody owns it, if nobody does.
    pub(super) const fn why(self) -> Option<&'static str> {
        match self {
            Self::Keep | Self::Wait => None,
            Self::Gone => Some("gone"),
            Self::Missing => Some("missing"),
        }
    }
}

/// Of something this old, whose workspace was missing for the first time in a look after which transactions from
/// `first_missed` on began.
fn verdict(state: WorkspaceState, age: Duration, grace: Duration, first_missed: u64, look: &Sighting) -> Verdict {
    match state {
        WorkspaceState::Live => Verdict::Keep,
        WorkspaceState::Gone => Verdict::Gone,
        // Every transaction that may have written it has ended, and it is not there.
        WorkspaceState::Missing if age >= grace && look.over_below >= first_missed => Verdict::Missing,
        WorkspaceState::Missing => Verdict::Wait,
    }
}

/// What is known of the workspaces that have anything.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) grace: Duration,
    /// The workspaces, as they were looked at, sorted.
    pub(super) ids: &'a [String],
    pub(super) look: Sighting,
    /// When those that are missing were missed first.
    pub(super) missed: BTreeMap<String, u64>,
}

impl Judge<'_> {
    pub(super) fn verdict(&self, workspace: &str, age: Duration) -> Verdict {
        let place = self.ids.binary_search_by(|id| id.as_str().cmp(workspace)).ok();
        let state = place.and_then(|place| self.look.states.get(place));
        self.verdict_on(workspace, state, age, &self.look)
    }

    /// By a later look at this one alone.
    pub(super) fn verdict_by(&self, look: &Sighting, workspace: &str, age: Duration) -> Verdict {
        self.verdict_on(workspace, look.states.first(), age, look)
    }

    fn verdict_on(&self, workspace: &str, state: Option<&WorkspaceState>, age: Duration, look: &Sighting) -> Verdict {
        let missed = self.missed.get(workspace).copied().unwrap_or(look.unbegun_from);
        verdict(state.copied().unwrap_or(WorkspaceState::Live), age, self.grace, missed, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(over_below: u64, unbegun_from: u64) -> Sighting {
        Sighting { states: Vec::new(), over_below, unbegun_from }
    }

    #[test]
    fn what_is_missing_is_an_orphan_once_it_is_old_and_every_transaction_that_was_open_is_over() {
        let (young, old, grace) = (Duration::from_secs(59), Duration::from_secs(60), Duration::from_secs(60));
        let missing = |age, first, look: &Sighting| verdict(WorkspaceState::Missing, age, grace, first, look);
        assert_eq!(missing(old, 100, &look(100, 100)), Verdict::Missing, "none is open");
        assert_eq!(missing(young, 100, &look(100, 100)), Verdict::Wait);
        assert_eq!(missing(old, 100, &look(99, 100)), Verdict::Wait, "one is open");
        assert_eq!(missing(old, 100, &look(100, 107)), Verdict::Missing, "those that are open began later");
    }

    #[test]
    fn a_workspace_that_is_gone_needs_no_grace_and_one_that_is_there_is_kept() {
        let verdict = |state| verdict(state, Duration::ZERO, Duration::from_secs(60), 0, &look(0, 9));
        assert_eq!(verdict(WorkspaceState::Gone), Verdict::Gone);
        assert_eq!(verdict(WorkspaceState::Live), Verdict::Keep);
    }
}
