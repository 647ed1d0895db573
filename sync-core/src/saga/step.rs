//! What sagas are made of.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// What a step is told.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// The saga's number.
    pub saga: i64,
    /// What it is about.
    pub subject: &'a str,
    /// What it was begun with.
    pub params: &'a Value,
    /// What the steps that are done gave, by step.
    pub outputs: &'a BTreeMap<String, Value>,
}

/// An action, and what undoes it.
///
/// An error's [remedy](crate::Remedy) says what becomes of the step: what is only away (`Retry`) is tried again while the
/// saga has time, what failed for an unknown reason (`TryLater`) a few times, and with anything else the saga is taken
/// back. Either may be dropped at any await, when its time, the saga's lease or the process is over; it may be done all the
/// same, also after the saga was taken back: what that leaves is for whoever cleans up behind sagas.
#[async_trait]
pub trait SagaStep: Debug + Send + Sync + 'static {
    /// Its name, which stays the same: logs tell of it.
    fn name(&self) -> &'static str;

    /// Does it, and gives what later steps want to know. Unless [`may_be_repeated`](Self::may_be_repeated) says otherwise,
    /// it is called again when it is not known whether it was done, and then finds what the earlier try left.
    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error>;

    /// Undoes it, or what a try has left of it; a success, too, where there is nothing. May be called again and again.
    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error>;

    /// Whether the action may be called again when it is not known whether it was done. Otherwise the saga is taken back
    /// then.
    fn may_be_repeated(&self) -> bool {
        true
    }
}

/// The steps of one kind of saga.
#[derive(Clone, Debug)]
pub struct SagaDefinition {
    /// The kind.
    pub(super) kind: String,
    /// In the order they are done.
    pub(super) steps: Vec<Arc<dyn SagaStep>>,
    /// Whether it undoes these steps instead.
    pub(super) undoes: bool,
}

impl SagaDefinition {
    /// A saga that does these steps, one after the other. Each has another name, or no worker takes it.
    #[must_use]
    pub fn new(kind: &str, steps: Vec<Arc<dyn SagaStep>>) -> Self {
        Self { kind: kind.to_owned(), steps, undoes: false }
    }

    /// A saga that undoes these steps, the last one first, as if all were done. It is done when all is undone, or noted as
    /// left; it has no deadline and cannot be cancelled, because there is no way back.
    #[must_use]
    pub fn undoing(kind: &str, steps: Vec<Arc<dyn SagaStep>>) -> Self {
        Self { undoes: true, ..Self::new(kind, steps) }
    }

    /// The same with something around each step: a trace, a fault.
    #[must_use]
    pub fn around(mut self, wrap: impl FnMut(Arc<dyn SagaStep>) -> Arc<dyn SagaStep>) -> Self {
        self.steps = self.steps.into_iter().map(wrap).collect();
        self
    }

    /// By its name the log knows a step, and by its kind a saga.
    pub(super) fn check(all: &[Self]) -> Result<(), Error> {
        let twice = |what: String| Err(Error::new(ErrorKind::Configuration, what));
        for (number, definition) in all.iter().enumerate() {
            let kind = &definition.kind;
            if all[..number].iter().any(|other| other.kind == *kind) {
                return twice(format!("two sagas are of the kind {kind:?}: call one otherwise"));
            }
            let names = definition.names();
            if let Some(name) =
                names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name))
            {
                return twice(format!(
                    "two steps of the saga {kind:?} are called {name:?}: the second would never be done"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.steps.iter().map(|step| step.name()).collect()
    }

    pub(super) fn step(&self, name: &str) -> Option<&Arc<dyn SagaStep>> {
        self.steps.iter().find(|step| step.name() == name)
    }
}
