//! Whether to ask a system that may be down. Counts calls in a sliding window; the time is told.

use std::collections::VecDeque;
use std::time::Duration;

use super::ramp::Ramp;

/// When a breaker opens, and for how long. Rooms have defaults of their own for it, which the field `breaker` of their
/// settings says. To change one of its settings and keep the others, begin with theirs:
///
/// ```
/// use sync_core::search::SearchConfig;
///
/// let config = SearchConfig::default();
/// let config = config.breaker(config.breaker.window(20));
/// assert_eq!((config.breaker.window, config.breaker.probes), (20, 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Calls that are looked back at; 10 unless said. Nothing is judged before so many were made.
    pub window: usize,
    /// It opens when at least this part of them failed, from 0 to 1; 0.5 unless said.
    pub failure_rate: f64,
    /// How long it stays open before a call is tried; 30 seconds unless said.
    pub open_for: Duration,
    /// Calls tried at a time then, at least one; 1 unless said. All of them have to succeed.
    pub probes: u32,
    /// For how long, after the probes have succeeded, only a growing part of the calls goes through; zero unless said,
    /// which lets all through at once. A system that has just been started is slow, and would fail again if all came at
    /// once. Only for callers who have somewhere else to go.
    pub recover_for: Duration,
    /// A call that takes longer counts as failed, whatever its answer; 10 seconds unless said.
    pub slow: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            window: 10,
            failure_rate: 0.5,
            open_for: seconds(30),
            probes: 1,
            slow: seconds(10),
            recover_for: Duration::ZERO,
        }
    }
}

setters! {
    BreakerConfig {
        window: usize,
        failure_rate: f64,
        open_for: Duration,
        probes: u32,
        recover_for: Duration,
        slow: Duration,
    }
}

/// A circuit breaker. Times are since any fixed moment, on one clock that never goes back.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Calls go through.
    Closed(Window),
    /// A part of them does.
    Recovering { ramp: Ramp, window: Window },
    /// No call goes through before then.
    Open { until: Duration },
    /// Some calls are tried.
    HalfOpen { trying: u32, succeeded: u32 },
}

/// Whether the last calls failed.
#[derive(Clone, Debug, Default)]
struct Window(VecDeque<bool>);

impl Window {
    /// Counts one more; whether too many have failed.
    fn push(&mut self, has_failed: bool, config: &BreakerConfig) -> bool {
        let size = config.window.max(1);
        self.0.push_back(has_failed);
        if self.0.len() > size {
            self.0.pop_front();
        }
        let failed = self.0.iter().filter(|failed| **failed).count();
        self.0.len() >= size && failed as f64 >= config.failure_rate * self.0.len() as f64
    }
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// They go through.
    Closed,
    /// A part of them does, which grows.
    Recovering,
    /// Some are tried, the others do not go through.
    HalfOpen,
    /// None goes through.
    Open,
}

impl BreakerState {
    /// The word for it in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Recovering => "recovering",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What a breaker says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Make it. What became of it has to be told.
    Call,
    /// Make it: it decides whether others may follow. What became of it has to be told.
    Probe,
    /// Do not make it, and ask again after this time.
    Wait(Duration),
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The system answered, after that time.
    Answered(Duration),
    /// It did not, or said that it cannot.
    Failed,
    /// Nobody waited for the answer.
    Abandoned,
}

impl Breaker {
    /// A breaker that lets calls through.
    #[must_use]
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed(Window::default()) }
    }

    /// What it does with calls, as far as it was asked and told.
    #[must_use]
    pub(crate) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Recovering { .. } => BreakerState::Recovering,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Whether to make a call at `now`.
    pub(crate) fn ask(&mut self, now: Duration) -> Permission {
        self.advance(now);
        let (probes, later) = (self.config.probes.max(1), Permission::Wait(self.config.open_for / 10));
        match &mut self.state {
            State::Closed(_) => Permission::Call,
            State::Recovering { ramp, .. } => {
                if ramp.lets_through(now) {
                    Permission::Call
                } else {
                    later
                }
            }
            State::HalfOpen { trying, succeeded } if *trying + *succeeded < probes => {
                *trying += 1;
                Permission::Probe
            }
            State::HalfOpen { .. } => later,
            State::Open { until } => Permission::Wait(*until - now),
        }
    }

    /// What time alone changes.
    fn advance(&mut self, now: Duration) {
        match &mut self.state {
            State::Open { until } if *until <= now => self.state = State::HalfOpen { trying: 0, succeeded: 0 },
            State::Recovering { ramp, window } if ramp.is_over(now) => {
                self.state = State::Closed(std::mem::take(window));
            }
            State::Closed(_) | State::Recovering { .. } | State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    /// What became, at `now`, of a call that was permitted so.
    pub(crate) fn tell(&mut self, permission: Permission, outcome: CallOutcome, now: Duration) {
        let has_failed = match outcome {
            CallOutcome::Answered(took) => took > self.config.slow,
            CallOutcome::Failed => true,
            CallOutcome::Abandoned => return self.abandon(permission),
        };
        match (&mut self.state, permission) {
            (State::Closed(window) | State::Recovering { window, .. }, Permission::Call | Permission::Probe) => {
                if window.push(has_failed, &self.config) {
                    self.state = State::Open { until: now + self.config.open_for };
                }
            }
            (State::HalfOpen { .. }, Permission::Probe) if has_failed => {
                self.state = State::Open { until: now + self.config.open_for };
            }
            (State::HalfOpen { trying, succeeded }, Permission::Probe) => {
                *trying = trying.saturating_sub(1);
                *succeeded += 1;
                if *succeeded >= self.config.probes.max(1) {
                    self.state = self.recover(now);
                }
            }
            // It was made before the breaker opened, and says nothing about now.
            (State::Open { .. } | State::HalfOpen { .. }, Permission::Call | Permission::Probe)
            | (_, Permission::Wait(_)) => {}
        }
    }

    /// What follows when all that was tried succeeded.
    fn recover(&self, now: Duration) -> State {
        let (window, length) = (Window::default(), self.config.recover_for);
        if length.is_zero() {
            State::Closed(window)
        } else {
            State::Recovering { ramp: Ramp::new(now, length), window }
        }
    }

    /// Another one may be tried in its place.
    fn abandon(&mut self, permission: Permission) {
        if let (State::HalfOpen { trying, .. }, Permission::Probe) = (&mut self.state, permission) {
            *trying = trying.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const QUICK: CallOutcome = CallOutcome::Answered(Duration::from_millis(5));

    fn breaker(probes: u32) -> Breaker {
        Breaker::new(BreakerConfig { probes, ..BreakerConfig::default() })
    }

    fn calls(breaker: &mut Breaker, outcomes: impl IntoIterator<Item = CallOutcome>) {
        for outcome in outcomes {
            let permission = breaker.ask(SECOND);
            breaker.tell(permission, outcome, SECOND);
        }
    }

    fn open(probes: u32) -> Breaker {
        let mut breaker = breaker(probes);
        calls(&mut breaker, [CallOutcome::Failed; 10]);
        breaker
    }

    #[test]
    fn it_opens_when_half_of_the_last_ten_calls_failed_and_not_before() {
        let mut breaker = breaker(1);
        calls(&mut breaker, [QUICK; 100]);
        calls(&mut breaker, [CallOutcome::Failed; 4]);
        assert!(breaker.state() == BreakerState::Closed, "four of ten");
        calls(&mut breaker, [CallOutcome::Failed]);
        assert_eq!(breaker.ask(SECOND), Permission::Wait(30 * SECOND));

        let mut early = self::breaker(1);
        calls(&mut early, [CallOutcome::Failed; 9]);
        assert!(early.state() == BreakerState::Closed, "too few to judge by");
    }

    #[test]
    fn a_slow_answer_counts_as_a_failure() {
        let mut breaker = breaker(1);
        calls(&mut breaker, [CallOutcome::Answered(11 * SECOND); 10]);
        assert!(breaker.state() != BreakerState::Closed);
    }

    #[test]
    fn after_thirty_seconds_one_call_is_tried_and_decides() {
        let mut breaker = open(1);
        assert_eq!(breaker.ask(30 * SECOND), Permission::Wait(SECOND));
        assert_eq!(breaker.ask(31 * SECOND), Permission::Probe);
        assert!(matches!(breaker.ask(31 * SECOND), Permission::Wait(_)), "one at a time");
        breaker.tell(Permission::Probe, CallOutcome::Failed, 32 * SECOND);
        assert_eq!(breaker.ask(33 * SECOND), Permission::Wait(29 * SECOND));
        assert_eq!(breaker.ask(62 * SECOND), Permission::Probe);
        breaker.tell(Permission::Probe, QUICK, 62 * SECOND);
        assert_eq!(breaker.ask(62 * SECOND), Permission::Call);
    }

    #[test]
    fn as_many_calls_are_tried_as_configured_and_all_have_to_succeed() {
        let mut breaker = open(2);
        assert_eq!([(); 2].map(|()| breaker.ask(31 * SECOND)), [Permission::Probe; 2]);
        assert!(matches!(breaker.ask(31 * SECOND), Permission::Wait(_)));
        breaker.tell(Permission::Probe, QUICK, 31 * SECOND);
        assert!(breaker.state() != BreakerState::Closed);
        breaker.tell(Permission::Probe, QUICK, 31 * SECOND);
        assert!(breaker.state() == BreakerState::Closed);
    }

    #[test]
    fn after_the_trials_a_growing_part_of_the_calls_goes_through_and_failures_among_them_open_it_again() {
        let mut breaker = Breaker::new(BreakerConfig { recover_for: 10 * SECOND, ..BreakerConfig::default() });
        calls(&mut breaker, [CallOutcome::Failed; 10]);
        let probe = breaker.ask(31 * SECOND);
        breaker.tell(probe, QUICK, 31 * SECOND);
        assert_eq!(breaker.state(), BreakerState::Recovering);
        let mut through = |second, outcome| {
            let mut through = 0;
            for _ in 0..100 {
                let permission = breaker.ask(second * SECOND);
                through += usize::from(permission == Permission::Call);
                breaker.tell(permission, outcome, second * SECOND);
            }
            (through, breaker.state())
        };
        let (first, _) = through(32, QUICK);
        let (later, state) = through(36, QUICK);
        assert!((9..=11).contains(&first) && (49..=51).contains(&later), "{first} {later} of 100");
        assert_eq!(state, BreakerState::Recovering);
        assert_eq!(through(37, CallOutcome::Failed), (5, BreakerState::Open), "five of the last ten");
        let probe = breaker.ask(67 * SECOND);
        breaker.tell(probe, QUICK, 67 * SECOND);
        assert_eq!(breaker.ask(77 * SECOND), Permission::Call);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_trial_nobody_waited_for_makes_room_for_another() {
        let mut breaker = open(1);
        assert_eq!(breaker.ask(31 * SECOND), Permission::Probe);
        breaker.tell(Permission::Probe, CallOutcome::Abandoned, 31 * SECOND);
        assert_eq!(breaker.ask(31 * SECOND), Permission::Probe);
    }

    #[test]
    fn what_was_asked_before_it_opened_does_not_close_it() {
        let mut breaker = open(1);
        breaker.tell(Permission::Call, QUICK, 2 * SECOND);
        assert!(breaker.state() != BreakerState::Closed);
        assert_eq!(breaker.ask(31 * SECOND), Permission::Probe);
        breaker.tell(Permission::Call, CallOutcome::Failed, 31 * SECOND);
        breaker.tell(Permission::Probe, QUICK, 31 * SECOND);
        assert!(breaker.state() == BreakerState::Closed);
    }
}
