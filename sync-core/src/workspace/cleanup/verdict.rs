//! Whether what was found is an orphan. Pure.

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
pub(super) fn verdict(
    state: WorkspaceState,
    age: Duration,
    grace: Duration,
    first_missed: u64,
    look: &Sighting,
) -> Verdict {
    match state {
        WorkspaceState::Live => Verdict::Keep,
        WorkspaceState::Gone => Verdict::Gone,
        // Every transaction that may have written it has ended, and it is not there.
        WorkspaceState::Missing if age >= grace && look.over_below >= first_missed => Verdict::Missing,
        WorkspaceState::Missing => Verdict::Wait,
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
