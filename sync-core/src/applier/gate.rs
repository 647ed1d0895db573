//! Before the sink: how many requests may be under way, and whether it is asked at all while it is down.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use crate::policy::adaptive::AdaptiveLimit;
use crate::policy::breaker::{Breaker, BreakerConfig, CallOutcome, Permission};

/// Shared by all batches of one index.
#[derive(Debug)]
pub(super) struct Gate {
    room: Semaphore,
    state: Mutex<State>,
    since: Instant,
    /// A request that takes longer is a sign that there are too many.
    slow: Duration,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    limit: AdaptiveLimit,
    /// Permits there are, taken and free.
    permits: usize,
}

/// A request that may be made. Dropped, nobody waited for its answer.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permission: Permission,
    permit: Option<SemaphorePermit<'a>>,
    began: Instant,
}

/// What a request's answer says about the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It works.
    Well,
    /// It is down or full.
    Overloaded,
}

impl Gate {
    /// At most `ceiling` requests at a time.
    pub(super) fn new(ceiling: usize, breaker: BreakerConfig) -> Self {
        let limit = AdaptiveLimit::new(ceiling);
        let permits = limit.current();
        let state = State { breaker: Breaker::new(breaker), limit, permits };
        Self { room: Semaphore::new(permits), state: Mutex::new(state), since: Instant::now(), slow: breaker.slow / 4 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be made.
    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            // The semaphore is never closed; without a permit the limit would only be kept less well.
            let permit = self.room.acquire().await.ok();
            let permission = self.state().breaker.ask(self.since.elapsed());
            match permission {
                Permission::Call | Permission::Probe => {
                    return Pass { gate: self, permission, permit, began: Instant::now() };
                }
                Permission::Wait(time) => {
                    drop(permit);
                    sleep(time).await;
                }
            }
        }
    }

    fn left(&self, permission: Permission, outcome: CallOutcome, permit: Option<SemaphorePermit<'_>>) {
        let mut state = self.state();
        let State { breaker, limit, permits } = &mut *state;
        breaker.tell(permission, outcome, self.since.elapsed());
        match outcome {
            CallOutcome::Answered(took) if took <= self.slow => limit.grow(),
            CallOutcome::Answered(_) | CallOutcome::Failed => limit.shrink(),
            CallOutcome::Abandoned => {}
        }
        if limit.current() > *permits {
            self.room.add_permits(limit.current() - *permits);
            *permits = limit.current();
        }
        *permits -= self.room.forget_permits(permits.saturating_sub(limit.current()));
        if let Some(permit) = permit
            && limit.current() < *permits
        {
            permit.forget();
            *permits -= 1;
        }
    }
}

impl Pass<'_> {
    /// Whether the answer took so long that there were too many, or too much at once.
    pub(super) fn is_late(&self) -> bool {
        self.began.elapsed() > self.gate.slow
    }

    /// The request was answered, or failed.
    pub(super) fn leave(mut self, condition: Condition) {
        let outcome = match condition {
            Condition::Well => CallOutcome::Answered(self.began.elapsed()),
            Condition::Overloaded => CallOutcome::Failed,
        };
        // Without its permit it tells nothing when it is dropped.
        self.gate.left(self.permission, outcome, self.permit.take());
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.gate.left(self.permission, CallOutcome::Abandoned, self.permit.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        window: 10,
        failure_rate: 0.5,
        open_for: Duration::from_secs(2),
        probes: 1,
        slow: Duration::from_secs(10),
        recover_for: Duration::ZERO,
    };

    /// The most requests that were under way at once, of so many that take `time` each.
    async fn most(gate: &Gate, requests: usize, time: Duration, condition: Condition) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let request = async || {
            let pass = gate.enter().await;
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(time).await;
            now.fetch_sub(1, Ordering::Relaxed);
            pass.leave(condition);
        };
        join_all((0..requests).map(|_| request())).await;
        most.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_index_gets_fewer_requests_at_a_time_and_a_quick_one_more_again() {
        let gate = Gate::new(8, CONFIG);
        let (slow, quick) = (Duration::from_secs(5), Duration::from_millis(10));
        assert_eq!(most(&gate, 8, slow, Condition::Well).await, 8);
        assert_eq!(most(&gate, 8, slow, Condition::Well).await, 1);
        assert_eq!(most(&gate, 200, quick, Condition::Well).await, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_is_down_is_asked_now_and_then_by_one() {
        let gate = Gate::new(8, CONFIG);
        most(&gate, 10, Duration::from_millis(1), Condition::Overloaded).await;
        let began = Instant::now();
        assert_eq!(most(&gate, 20, Duration::from_millis(1), Condition::Overloaded).await, 1);
        assert!(began.elapsed() >= Duration::from_secs(40), "{:?}", began.elapsed());
        assert_eq!(most(&gate, 200, Duration::from_millis(1), Condition::Well).await, 8, "once it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_nobody_waits_for_any_more_gives_its_place_back() {
        let gate = Gate::new(1, CONFIG);
        for _ in 0..3 {
            drop(gate.enter().await);
        }
        most(&gate, 10, Duration::from_millis(1), Condition::Overloaded).await;
        drop(gate.enter().await);
        assert_eq!(most(&gate, 2, Duration::from_millis(1), Condition::Well).await, 1);
    }
}
