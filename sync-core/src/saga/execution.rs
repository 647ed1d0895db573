//! One saga in this process' hands, from where it is to its end.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::SagaConfig;
use super::plan::{Next, Progress, is_tried_again};
use super::step::{SagaDefinition, StepContext};
use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{HeldSaga, Saga, SagaClaim, SagaEnding, SagaEvent, SagaFailure, SagaLog, SagaOutcome};
use crate::telemetry::metrics::{SAGA_ENDED, SAGA_FAILED_TRIES, SAGA_LEFT};

/// That somebody wants a saga taken back.
#[derive(Debug, Default)]
pub(super) struct Cancellation {
    why: OnceLock<String>,
    told: CancellationToken,
}

impl Cancellation {
    pub(super) fn tell(&self, why: String) {
        self.why.get_or_init(|| why);
        self.told.cancel();
    }
}

/// A saga that is worked on.
#[derive(Debug)]
pub(super) struct Execution<'a> {
    log: &'a dyn SagaLog,
    definition: &'a SagaDefinition,
    config: &'a SagaConfig,
    cancellation: &'a Cancellation,
    saga: Saga,
    claim: SagaClaim,
    /// When it is to be taken back.
    deadline: Instant,
    progress: Progress,
    /// When the undoing of the step in hand began.
    undoing_since: Option<Instant>,
    /// Tries to end it that were not answered.
    unanswered_ends: u32,
}

impl<'a> Execution<'a> {
    pub(super) fn new(
        log: &'a dyn SagaLog,
        definition: &'a SagaDefinition,
        config: &'a SagaConfig,
        cancellation: &'a Cancellation,
        held: HeldSaga,
    ) -> Self {
        let (claim, deadline) = (held.claim(), Instant::now() + held.left);
        if let Some(why) = &held.saga.cancelled {
            cancellation.tell(why.clone());
        }
        let progress = Progress::of(&definition.names(), definition.undoes, &held.saga.log);
        Self {
            log,
            definition,
            config,
            cancellation,
            saga: held.saga,
            claim,
            deadline,
            progress,
            undoing_since: None,
            unanswered_ends: 0,
        }
    }

    /// Goes on until it is over; or, told to shut down, until the step in hand is.
    pub(super) async fn run(&mut self, shutdown: &CancellationToken) -> Result<Option<SagaOutcome>, Error> {
        let names = self.definition.names();
        while !shutdown.is_cancelled() {
            match self.progress.next(&names) {
                Next::Act(step) => self.act(&step, shutdown).await?,
                Next::Undo(step) => self.undo(&step, shutdown).await?,
                Next::End(outcome) => {
                    if self.end(outcome, shutdown).await? {
                        return Ok(Some(outcome));
                    }
                }
            }
        }
        Ok(None)
    }

    /// One try of a step.
    async fn act(&mut self, name: &str, shutdown: &CancellationToken) -> Result<(), Error> {
        let Some(step) = self.definition.step(name).cloned() else { return Ok(()) };
        if let Some(why) = self.must_go_back(name, step.may_be_repeated()) {
            return self.record(vec![SagaEvent::Compensating { why }]).await;
        }
        let attempt = self.progress.tries() + 1;
        self.record(vec![SagaEvent::Acting { step: name.to_owned(), attempt }]).await?;
        let limit = self.config.step_timeout.min(self.time_left());
        let tried = tokio::select! {
            tried = timeout(limit, step.act(self.context())) => tried.unwrap_or_else(|_| Err(late(limit))),
            // Why is said when it is asked what is next.
            () = self.cancellation.told.cancelled() => return Ok(()),
        };
        let error = match tried {
            Ok(output) => return self.record(vec![SagaEvent::Done { step: name.to_owned(), output }]).await,
            Err(error) => error,
        };
        let failure = self.failed(name, name, attempt, &error);
        let mut events = vec![SagaEvent::Failed { step: name.to_owned(), attempt, failure }];
        let tries = self.progress.counted_tries() + 1;
        let pause = self.config.backoff.delay(attempt, rand::random());
        let has_time = pause < self.time_left();
        if !step.may_be_repeated() || !is_tried_again(error.remedy(), tries, self.config.attempts, has_time) {
            let in_vain =
                if error.remedy() == Remedy::Retry { "; it was tried until the time allowed was over" } else { "" };
            // A try that is cut short says nothing of what was wrong all the time.
            let before = self.progress.failure().filter(|_| limit < self.config.step_timeout && !in_vain.is_empty());
            let before = before.map(|before| format!(", and before that: {before}")).unwrap_or_default();
            events.push(SagaEvent::Compensating { why: format!("{name}: {error}{in_vain}{before}") });
            return self.record(events).await;
        }
        self.record(events).await?;
        self.wait(pause, shutdown).await;
        Ok(())
    }

    /// Why a step must not be begun, if it must not.
    fn must_go_back(&self, name: &str, may_be_repeated: bool) -> Option<String> {
        if let Some(why) = self.cancellation.why.get() {
            return Some(why.clone());
        }
        let failure = self.progress.failure().map(|failure| format!(": {failure}")).unwrap_or_default();
        if self.time_left().is_zero() {
            return Some(format!("{name}: not done in the time allowed{failure}"));
        }
        if !may_be_repeated && (self.progress.is_open() || !failure.is_empty()) {
            return Some(format!("{name}: it is not known whether it was done, and it may not be repeated{failure}"));
        }
        let tries = self.progress.tries();
        let is_used_up = self.progress.is_used_up(self.config.attempts);
        is_used_up.then(|| format!("{name}: tried {tries} times in vain{failure}"))
    }

    /// One try to undo a step.
    async fn undo(&mut self, name: &str, shutdown: &CancellationToken) -> Result<(), Error> {
        let Some(step) = self.definition.step(name).cloned() else {
            return self.leave(name, "there is no step of that name any more".to_owned()).await;
        };
        if self.progress.is_used_up(self.config.attempts) {
            let failure = self.progress.failure().unwrap_or("its process ended each time").to_owned();
            return self.leave(name, failure).await;
        }
        let since = *self.undoing_since.get_or_insert_with(Instant::now);
        let attempt = self.progress.tries() + 1;
        self.record(vec![SagaEvent::Undoing { step: name.to_owned(), attempt }]).await?;
        // One that says nothing is tried once more.
        let limit = self.config.step_timeout.min(self.config.undo_patience / 2);
        let undone = timeout(limit, step.undo(self.context())).await.unwrap_or_else(|_| Err(late(limit)));
        let Err(error) = undone else {
            self.undoing_since = None;
            return self.record(vec![SagaEvent::Undone { step: name.to_owned() }]).await;
        };
        let failure = self.failed(name, &format!("undoing {name}"), attempt, &error);
        let failed = SagaEvent::UndoFailed { step: name.to_owned(), attempt, failure };
        let has_time = since.elapsed() < self.config.undo_patience;
        self.record(vec![failed]).await?;
        if !is_tried_again(error.remedy(), self.progress.counted_tries(), self.config.attempts, has_time) {
            return self.leave(name, error.to_string()).await;
        }
        self.wait(self.config.backoff.delay(attempt, rand::random()), shutdown).await;
        Ok(())
    }

    async fn leave(&mut self, step: &str, why: String) -> Result<(), Error> {
        self.undoing_since = None;
        counter!(SAGA_LEFT.name, "kind" => self.saga.kind.clone()).increment(1);
        self.record(vec![SagaEvent::Left { step: step.to_owned(), why }]).await
    }

    /// What is noted of a try of a step that failed; `doing` is what people are told it was.
    fn failed(&self, step: &str, doing: &str, attempt: u32, error: &Error) -> SagaFailure {
        tracing::warn!(%error, "{}: {doing}, try {attempt}, failed", self.told());
        counter!(SAGA_FAILED_TRIES.name, "kind" => self.saga.kind.clone(), "step" => step.to_owned()).increment(1);
        SagaFailure { error: error.to_string(), counts: error.remedy() != Remedy::Retry }
    }

    /// Ends it, and says whether it is over: what refuses that it is done has it taken back.
    async fn end(&mut self, outcome: SagaOutcome, shutdown: &CancellationToken) -> Result<bool, Error> {
        if let Some(why) = self.must_not_end() {
            // The end of the way back is another one.
            self.unanswered_ends = 0;
            self.record(vec![SagaEvent::Compensating { why }]).await?;
            return Ok(false);
        }
        let ending = SagaEnding {
            outcome,
            error: self.progress.why().map(str::to_owned),
            outputs: self.progress.outputs().clone(),
            left: self.progress.left().clone(),
        };
        match self.log.end(self.claim, &ending).await {
            Ok(()) => {}
            // It is over, by a try whose answer was lost, or somebody else's.
            Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
            Err(error) if error.remedy() == Remedy::Retry => {
                self.end_later(&error, shutdown).await;
                return Ok(false);
            }
            // Nothing is left to turn back to: a person has to mend something.
            Err(error) if self.progress.goes_back() => {
                self.note_unended(error.to_string()).await?;
                return Err(error);
            }
            Err(error) => {
                self.record(vec![SagaEvent::Compensating { why: error.to_string() }]).await?;
                return Ok(false);
            }
        }
        counter!(SAGA_ENDED.name, "kind" => self.saga.kind.clone(), "outcome" => outcome.name()).increment(1);
        match &ending.error {
            Some(error) => tracing::warn!(error, "{} was taken back", self.told()),
            None => tracing::info!("{} is done", self.told()),
        }
        for (step, why) in &ending.left {
            tracing::error!("{}: {step} could not be undone and is left for others: {why}", self.told());
        }
        Ok(true)
    }

    /// Why it is taken back although all is done, if it is.
    fn must_not_end(&self) -> Option<String> {
        if self.progress.goes_back() {
            return None;
        }
        let late = || {
            let failure = self.progress.unended().map(|failure| format!(": {failure}")).unwrap_or_default();
            self.time_left().is_zero().then(|| format!("it was not ended in the time allowed{failure}"))
        };
        self.cancellation.why.get().cloned().or_else(late)
    }

    /// After a try to end it that was not answered. If that did end it, the next one is fenced.
    async fn end_later(&mut self, error: &Error, shutdown: &CancellationToken) {
        self.unanswered_ends += 1;
        if let Err(error) = self.note_unended(error.to_string()).await {
            tracing::debug!(%error, "{}: that its end was not answered is not written down", self.told());
        }
        let (tries, pause) = (self.unanswered_ends, self.config.backoff.delay(self.unanswered_ends, rand::random()));
        tracing::warn!(%error, "{}: its end, try {tries}, was not answered; tried again in {pause:?}", self.told());
        self.wait(pause, shutdown).await;
    }

    /// Lets people see what it waits for.
    async fn note_unended(&mut self, why: String) -> Result<(), Error> {
        if !self.progress.is_worth_noting(&why) {
            return Ok(());
        }
        self.record(vec![SagaEvent::EndFailed { why }]).await
    }

    async fn record(&mut self, events: Vec<SagaEvent>) -> Result<(), Error> {
        self.log.record(self.claim, &events).await?;
        events.iter().for_each(|event| self.progress.note(event));
        Ok(())
    }

    /// For so long, unless there is something else to do.
    async fn wait(&self, pause: Duration, shutdown: &CancellationToken) {
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled() => {}
            () = self.cancellation.told.cancelled(), if !self.progress.goes_back() => {}
        }
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn context(&self) -> StepContext<'_> {
        StepContext {
            saga: self.saga.id,
            subject: &self.saga.subject,
            params: &self.saga.params,
            outputs: self.progress.outputs(),
        }
    }

    fn told(&self) -> String {
        format!("{} of {}", self.saga.kind, self.saga.subject)
    }
}

fn late(limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no end within {limit:?}"))
}
