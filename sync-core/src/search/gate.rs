//! Before the index: whether it is asked, and how long it is waited for.
//!
//! A call that is late counts as failed when it is late, not when it ends; and when the breaker opens, whoever still waits
//! stops waiting. So an index that says nothing costs those who were searching then no more than the time that is late.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::SearchConfig;
use crate::error::{Error, Remedy};
use crate::policy::breaker::{Breaker, BreakerState, CallOutcome, Permission};
use crate::telemetry::metrics::{SEARCH_BREAKER_STATE, SEARCH_BREAKER_TRANSITIONS};

/// Why there is no answer of the index.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The breaker did not let it through, or opened meanwhile.
    NotLetThrough,
    /// It took too long.
    Late,
    /// It said this.
    Failed(Error),
}

/// Shared by all searches of one index.
#[derive(Debug)]
pub(super) struct Gate {
    name: String,
    config: SearchConfig,
    breaker: Mutex<Breaker>,
    /// How often it has opened.
    opened: watch::Sender<u64>,
    since: Instant,
}

impl Gate {
    pub(super) fn new(name: &str, config: SearchConfig) -> Self {
        let breaker = Mutex::new(Breaker::new(config.breaker));
        gauge!(SEARCH_BREAKER_STATE.name, "index" => name.to_owned()).set(0.0);
        Self { name: name.to_owned(), config, breaker, opened: watch::Sender::new(0), since: Instant::now() }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.lock().state()
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, if it may be made.
    pub(super) async fn ask<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, NoAnswer> {
        let mut opened = self.opened.subscribe();
        let began = Instant::now();
        let mut pass = match self.change(|breaker, now| breaker.ask(now)) {
            Permission::Wait(_) => return Err(NoAnswer::NotLetThrough),
            permission @ (Permission::Call | Permission::Probe) => Pass { gate: self, permission: Some(permission) },
        };
        let late = sleep_until(began + self.config.breaker.slow.min(self.config.budget));
        let end = sleep_until(began + self.config.budget);
        tokio::pin!(call, late, end);
        let mut is_late = false;
        loop {
            tokio::select! {
                biased;
                answer = &mut call => {
                    pass.tell(outcome(&answer, began));
                    return answer.map_err(NoAnswer::Failed);
                }
                _ = opened.changed() => return Err(NoAnswer::NotLetThrough),
                () = &mut end => {
                    pass.tell(CallOutcome::Failed);
                    return Err(NoAnswer::Late);
                }
                () = &mut late, if !is_late => {
                    is_late = true;
                    pass.tell(CallOutcome::Failed);
                }
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let mut breaker = self.lock();
        let before = breaker.state();
        let changed = change(&mut breaker, self.since.elapsed());
        let now = breaker.state();
        if before != now {
            self.changed(now);
        }
        changed
    }

    fn changed(&self, now: BreakerState) {
        let level = match now {
            BreakerState::Closed => {
                tracing::info!(index = self.name, "the index answers all searches again");
                0.0
            }
            BreakerState::Recovering => {
                tracing::info!(index = self.name, "the index answers some searches again, and more and more");
                1.0
            }
            BreakerState::HalfOpen => {
                tracing::info!(index = self.name, "some searches try whether the index answers");
                2.0
            }
            BreakerState::Open => {
                self.opened.send_modify(|count| *count += 1);
                let open_for = self.config.breaker.open_for;
                tracing::warn!(
                    index = self.name,
                    ?open_for,
                    "the index is not asked for a while; the database answers searches"
                );
                3.0
            }
        };
        gauge!(SEARCH_BREAKER_STATE.name, "index" => self.name.clone()).set(level);
        counter!(SEARCH_BREAKER_TRANSITIONS.name, "index" => self.name.clone(), "to" => now.name()).increment(1);
    }
}

/// What an answer says about the index. One that refuses a query is well.
fn outcome<T>(answer: &Result<T, Error>, began: Instant) -> CallOutcome {
    match answer.as_ref().map_err(Error::remedy) {
        Ok(_) | Err(Remedy::Park | Remedy::Halt) => CallOutcome::Answered(began.elapsed()),
        Err(Remedy::Retry | Remedy::TryLater) => CallOutcome::Failed,
    }
}

/// A call that may be made. Dropped before anything was told of it, nobody waited for its answer.
struct Pass<'a> {
    gate: &'a Gate,
    permission: Option<Permission>,
}

impl Pass<'_> {
    /// The first time counts.
    fn tell(&mut self, outcome: CallOutcome) {
        if let Some(permission) = self.permission.take() {
            self.gate.change(|breaker, now| breaker.tell(permission, outcome, now));
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.tell(CallOutcome::Abandoned);
    }
}
