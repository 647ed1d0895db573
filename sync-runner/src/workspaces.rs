//! How a workspace stands, by the saga that was begun about it last and by what it occupies.

use sync_core::port::{PastSaga, Placement, SagaEvent, SagaOutcome};
use sync_core::workspace::{CREATE, DELETE};

/// Every word for it.
pub(crate) const STATES: [&str; 7] = ["creating", "failing", "failed", "ready", "removed", "deleting", "deleted"];

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
