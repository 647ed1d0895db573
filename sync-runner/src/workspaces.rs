//! How workspaces stand, each by the saga that was begun about it last and by what it occupies.

use std::collections::BTreeMap;

use sync_core::Error;
use sync_core::port::{PastSaga, Placement, Placements as _, SagaEvent, SagaOutcome, Sagas as _};
use sync_core::workspace::{CREATE, DELETE};

use crate::outbox;
use crate::wire::Wire;

/// Every word for it.
const STATES: [&str; 7] = ["creating", "failing", "failed", "ready", "removed", "deleting", "deleted"];

/// Sagas that are counted, the newest.
const SAGAS: usize = 500;

/// How many workspaces there are.
#[derive(Debug)]
pub(crate) struct WorkspaceCounts {
    /// By state.
    pub(crate) states: BTreeMap<&'static str, u64>,
    /// Sagas under way, by kind.
    pub(crate) unfinished: BTreeMap<String, u64>,
}

/// Counts them: of each workspace the saga that was begun last, as far as they are looked at; of those under way all.
///
/// # Errors
/// `Configuration` when no host is configured; `Unavailable`, `Denied`.
pub(crate) async fn count(wire: &Wire<'_>) -> Result<WorkspaceCounts, Error> {
    let of = wire.workspaces()?;
    let (past, placements) = tokio::try_join!(of.sagas.list(None, SAGAS), of.placements.list())?;
    let mut last: BTreeMap<&str, &'static str> = BTreeMap::new();
    for past in past.iter().filter(|past| is_about_workspaces(past)) {
        let placement = placements.iter().find(|placement| placement.workspace == past.saga.subject);
        last.entry(&past.saga.subject).or_insert_with(|| state(past, placement));
    }
    let mut states: BTreeMap<_, _> = STATES.map(|state| (state, 0)).into();
    for state in last.into_values() {
        *states.entry(state).or_default() += 1;
    }
    Ok(WorkspaceCounts { states, unfinished: outbox::unfinished_sagas(wire.database()).await? })
}

/// Whether a saga is about workspaces.
pub(crate) fn is_about_workspaces(past: &PastSaga) -> bool {
    [CREATE, DELETE].contains(&past.saga.kind.as_str())
}

/// What the cleanup has removed, because the application knew nothing of it any more, is not there although it was.
pub(crate) fn state(past: &PastSaga, placement: Option<&Placement>) -> &'static str {
    match (past.saga.kind.as_str(), past.outcome) {
        (DELETE, None) => "deleting",
        (DELETE, Some(_)) => "deleted",
        (_, None) if error(past).is_some() => "failing",
        (_, None) => "creating",
        (_, Some(SagaOutcome::Done)) if placement.is_none() => "removed",
        (_, Some(SagaOutcome::Done)) => "ready",
        (_, Some(SagaOutcome::Compensated)) => "failed",
    }
}

/// Why it was taken back, or is about to be.
pub(crate) fn error(past: &PastSaga) -> Option<String> {
    let why = |event: &SagaEvent| if let SagaEvent::Compensating { why } = event { Some(why.clone()) } else { None };
    past.saga.log.iter().find_map(why)
}
