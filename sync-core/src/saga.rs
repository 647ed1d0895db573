//! Work of several steps outside the database, done as a whole or taken back, whatever dies when.
//!
//! ```text
//!  begin ──▶ log ──claim──▶ plan: what next? ──▶ "acting" into the log ──▶ step ──▶ "done" into the log ─┐
//!                            ▲                                                                           │
//!                            └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A step is an action with what undoes it. When one does not come to its end, when the time allowed is over or somebody
//! cancels, everything that was begun is undone in reverse order. What was about to be done is in the log before it is
//! done, so whoever takes a saga up after a crash knows what may have happened. What cannot be undone is noted, and left to
//! others.

mod execution;
mod plan;
mod step;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use metrics::counter;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::execution::{Cancellation, Execution};
pub use self::step::{SagaDefinition, SagaStep, StepContext};
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::Backoff;
use crate::port::{HeldSaga, SagaClaim, SagaLog, SagaOutcome};
use crate::telemetry::metrics::{SAGA_ENDED, SAGA_FAILED_TRIES, SAGA_LEFT};

/// How long letting a saga go may take.
const RELEASE: Duration = Duration::from_secs(2);

/// Between two looks for sagas while there is no answer.
const AWAY: Backoff = Backoff { first: Duration::from_millis(200), ceiling: Duration::from_secs(5) };

/// How sagas are worked on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SagaConfig {
    /// Sagas at a time; 8 unless said.
    pub concurrency: usize,
    /// How often to look for one; every 500 milliseconds unless said.
    pub poll_interval: Duration,
    /// How long one try of a step may take, or of what undoes it; 2 minutes unless said.
    pub step_timeout: Duration,
    /// Tries of a step, and of what undoes it; 3 unless said. A try that only found something away does not count: the time
    /// allowed, or `undo_patience`, limits those. Of those that end with their process there may be ten.
    pub attempts: u32,
    /// How long undoing a step is tried while what it needs is away; 30 seconds unless said.
    pub undo_patience: Duration,
    /// The delays between tries; from 500 milliseconds to 10 seconds unless said.
    pub backoff: Backoff,
    /// How long sagas may go on after a shutdown to end the step they are in; 5 seconds unless said.
    pub drain: Duration,
}

impl Default for SagaConfig {
    fn default() -> Self {
        Self {
            concurrency: 8,
            poll_interval: Duration::from_millis(500),
            step_timeout: Duration::from_secs(120),
            attempts: 3,
            undo_patience: Duration::from_secs(30),
            backoff: Backoff { first: Duration::from_millis(500), ceiling: Duration::from_secs(10) },
            drain: Duration::from_secs(5),
        }
    }
}

setters! {
    SagaConfig {
        concurrency: usize,
        poll_interval: Duration,
        step_timeout: Duration,
        attempts: u32,
        undo_patience: Duration,
        backoff: Backoff,
        drain: Duration,
    }
}

/// Works on the sagas of some kinds.
#[derive(Debug)]
pub struct SagaWorker {
    log: Arc<dyn SagaLog>,
    definitions: Vec<SagaDefinition>,
    config: SagaConfig,
}

impl SagaWorker {
    /// Does nothing until it is run.
    ///
    /// # Errors
    /// `Configuration` when two definitions are of one kind, or two steps of one have the same name.
    pub fn new(log: Arc<dyn SagaLog>, definitions: Vec<SagaDefinition>, config: SagaConfig) -> Result<Self, Error> {
        SagaDefinition::check(&definitions)?;
        for definition in &definitions {
            let kind = || definition.kind.clone();
            for outcome in [SagaOutcome::Done, SagaOutcome::Compensated] {
                counter!(SAGA_ENDED.name, "kind" => kind(), "outcome" => outcome.name()).increment(0);
            }
            for step in definition.names() {
                counter!(SAGA_FAILED_TRIES.name, "kind" => kind(), "step" => step).increment(0);
            }
            counter!(SAGA_LEFT.name, "kind" => kind()).increment(0);
        }
        Ok(Self { log, definitions, config })
    }

    /// Runs until `shutdown`, and then until the sagas in hand have ended the step they are in; they are let go, and whoever
    /// looks next goes on with them. Whatever fails is logged and tried again. Dropping it is a crash: others take its sagas
    /// up when their leases are over.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.work(None, &shutdown).await;
    }

    /// The same with nothing but the sagas about this subject.
    pub async fn run_for(&self, subject: &str, shutdown: CancellationToken) {
        self.work(Some(subject), &shutdown).await;
    }

    async fn work(&self, subject: Option<&str>, shutdown: &CancellationToken) {
        let mut at_work = FuturesUnordered::new();
        let mut looking = pin!(self.look(subject));
        loop {
            let has_room = at_work.len() < self.config.concurrency.max(1);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(()) = at_work.next() => {}
                held = &mut looking, if has_room => {
                    at_work.push(self.work_on(held, shutdown));
                    looking.set(self.look(subject));
                }
            }
        }
        while at_work.next().await.is_some() {}
    }

    /// Waits until there is a saga to work on.
    async fn look(&self, subject: Option<&str>) -> HeldSaga {
        let kinds: Vec<_> = self.definitions.iter().map(|definition| definition.kind.as_str()).collect();
        let mut failures = 0;
        loop {
            let pause = match self.log.claim(&kinds, subject).await {
                Ok(Some(held)) => return held,
                Ok(None) => {
                    failures = 0;
                    self.config.poll_interval
                }
                Err(error) => {
                    failures += 1;
                    let pause = AWAY.delay(failures, rand::random());
                    tracing::warn!(%error, "looking for sagas; tried again in {pause:?}");
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// Works on one until it is over, somebody else's, or nobody answers; tells what became of it.
    async fn work_on(&self, held: HeldSaga, shutdown: &CancellationToken) {
        let (claim, name) = (held.claim(), format!("{} of {}", held.saga.kind, held.saga.subject));
        let Some(definition) = self.definitions.iter().find(|definition| definition.kind == held.saga.kind) else {
            return;
        };
        let cancellation = Cancellation::default();
        let mut execution = Execution::new(&*self.log, definition, &self.config, &cancellation, held);
        let outcome = tokio::select! {
            outcome = execution.run(shutdown) => outcome,
            error = self.keep(claim, &cancellation) => Err(error),
            () = overtime(shutdown, self.config.drain) => Ok(None),
        };
        let pause = match outcome {
            Ok(Some(_)) => return,
            Ok(None) => Duration::ZERO,
            Err(error) if error.kind() == ErrorKind::Fenced => {
                tracing::info!(%error, "{name} is let go");
                return;
            }
            Err(error) if error.remedy() == Remedy::Retry => {
                tracing::warn!(%error, "{name}: taken up again when the log answers");
                Duration::ZERO
            }
            Err(error) => {
                let pause = self.log.lease();
                tracing::error!(%error, "{name} cannot be ended; tried again in {pause:?}");
                pause
            }
        };
        let silence = |_| Err(Error::new(ErrorKind::Unavailable, format!("no answer within {RELEASE:?}")));
        if let Err(error) = timeout(RELEASE, self.log.release(claim, pause)).await.unwrap_or_else(silence) {
            tracing::debug!(%error, "{name} was not let go; its lease runs out by itself");
        }
    }

    /// Renews the lease three times in its life; ends only with an error, and not because of an outage that is shorter than
    /// the lease.
    async fn keep(&self, claim: SagaClaim, cancellation: &Cancellation) -> Error {
        let lease = self.log.lease();
        let mut over = Instant::now() + lease;
        loop {
            sleep((lease / 3).max(Duration::from_millis(1))).await;
            let asked = Instant::now();
            let silence =
                |_| Err(Error::new(ErrorKind::Unavailable, "the lease ran out before its renewal was answered"));
            match timeout_at(over, self.log.renew(claim)).await.unwrap_or_else(silence) {
                Ok(why) => {
                    over = asked + lease;
                    why.into_iter().for_each(|why| cancellation.tell(why));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < over => {
                    tracing::debug!(%error, "a lease is not renewed yet");
                }
                Err(error) => return error,
            }
        }
    }
}

async fn overtime(shutdown: &CancellationToken, drain: Duration) {
    shutdown.cancelled().await;
    sleep(drain).await;
}
