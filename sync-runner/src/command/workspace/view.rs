//! Workspaces as people and scripts see them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sync_core::port::{PastSaga, Placement, SagaEvent};

use crate::workspaces::{error, state};

/// A workspace, by the saga that was begun about it last and by what it occupies.
#[derive(Debug, Serialize)]
pub(super) struct Workspace {
    pub(super) workspace: String,
    pub(super) saga: i64,
    pub(super) state: &'static str,
    pub(super) host: Option<String>,
    pub(super) container: Option<String>,
    pub(super) address: Option<String>,
    pub(super) host_name: Option<String>,
    /// Why it was taken back, or is about to be.
    pub(super) error: Option<String>,
    /// What could not be undone, and why.
    pub(super) left: BTreeMap<String, String>,
    /// Why its end is not taken; it is tried again until it is.
    pub(super) waits: Option<String>,
    pub(super) began_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
}

impl Workspace {
    pub(super) fn new(past: &PastSaga, placement: Option<&Placement>) -> Self {
        let saga = &past.saga;
        let container = saga.log.iter().find_map(|event| {
            let SagaEvent::Done { step, output: Value::String(id) } = event else { return None };
            (step == "container").then(|| id.clone())
        });
        let left = saga.log.iter().filter_map(|event| {
            let SagaEvent::Left { step, why } = event else { return None };
            Some((step.clone(), why.clone()))
        });
        let state = state(past, placement);
        Self {
            workspace: saga.subject.clone(),
            saga: saga.id,
            state,
            host: placement.map(|placement| placement.host.clone()),
            container: container.filter(|_| state == "ready"),
            address: placement.and_then(|placement| placement.address).map(|address| address.to_string()),
            host_name: placement.and_then(|placement| placement.host_name.clone()),
            error: error(past),
            left: left.collect(),
            waits: waits(past),
            began_at: past.began_at,
            ended_at: past.ended_at,
        }
    }

    /// Whether it is still worked on.
    pub(super) fn is_under_way(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Whether it came to what was wanted of it.
    pub(super) fn is_well(&self) -> bool {
        self.state != "failed" && self.left.is_empty()
    }
}

fn waits(past: &PastSaga) -> Option<String> {
    let Some(SagaEvent::EndFailed { why }) = past.saga.log.last() else { return None };
    past.outcome.is_none().then(|| why.clone())
}

/// What happened, in words for a line.
pub(super) fn told(event: &SagaEvent) -> [String; 3] {
    let try_of = |attempt: &u32| if *attempt > 1 { format!(", try {attempt}") } else { String::new() };
    match event {
        SagaEvent::Acting { step, attempt } => [step.clone(), format!("begun{}", try_of(attempt)), String::new()],
        SagaEvent::Done { step, output } => [step.clone(), "done".to_owned(), output_of(output)],
        SagaEvent::Failed { step, failure, .. } => [step.clone(), "failed".to_owned(), failure.error.clone()],
        SagaEvent::Compensating { why } => [String::new(), "taken back".to_owned(), why.clone()],
        SagaEvent::Undoing { step, attempt } => [step.clone(), format!("undoing{}", try_of(attempt)), String::new()],
        SagaEvent::Undone { step } => [step.clone(), "undone".to_owned(), String::new()],
        SagaEvent::UndoFailed { step, failure, .. } => [step.clone(), "not undone".to_owned(), failure.error.clone()],
        SagaEvent::Left { step, why } => [step.clone(), "left for the cleanup".to_owned(), why.clone()],
        SagaEvent::EndFailed { why } => ["end".to_owned(), "not taken".to_owned(), why.clone()],
    }
}

fn output_of(output: &Value) -> String {
    match output {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => output.to_string(),
    }
}
