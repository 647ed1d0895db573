//! A step that something happens to, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::Value;
use sync_core::saga::{SagaStep, StepContext};
use sync_core::testkit::faults::Hold;
use sync_core::{Error, ErrorKind};

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    BeforeAct,
    AfterAct,
    BeforeUndo,
    AfterUndo,
}

/// What.
#[derive(Clone, Debug)]
pub(super) enum Strike {
    /// It fails with this kind.
    Fails(ErrorKind),
    /// It waits until it is let go.
    Waits(Hold),
}

/// At which step, where in it, and what.
#[derive(Clone, Debug)]
pub(super) struct Struck {
    pub(super) step: &'static str,
    pub(super) place: Place,
    pub(super) strike: Strike,
    /// Shared by all who work on it.
    pub(super) is_over: Arc<AtomicBool>,
}

impl Struck {
    /// Around that step, and no other.
    pub(super) fn around(&self, step: Arc<dyn SagaStep>) -> Arc<dyn SagaStep> {
        if step.name() == self.step { Arc::new(StruckStep { inner: step, struck: self.clone() }) } else { step }
    }

    async fn at(&self, place: Place) -> Result<(), Error> {
        if place != self.place || self.is_over.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        match &self.strike {
            Strike::Fails(kind) => Err(Error::new(*kind, "the test's fault")),
            Strike::Waits(hold) => {
                hold.wait().await;
                Ok(())
            }
        }
    }
}

#[derive(Debug)]
struct StruckStep {
    inner: Arc<dyn SagaStep>,
    struck: Struck,
}

#[async_trait]
impl SagaStep for StruckStep {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        self.struck.at(Place::BeforeAct).await?;
        let output = self.inner.act(context).await?;
        self.struck.at(Place::AfterAct).await?;
        Ok(output)
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        self.struck.at(Place::BeforeUndo).await?;
        self.inner.undo(context).await?;
        self.struck.at(Place::AfterUndo).await
    }

    fn may_be_repeated(&self) -> bool {
        self.inner.may_be_repeated()
    }
}
