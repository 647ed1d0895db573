//! Conditions of the pipeline → people: once each, whichever process sees them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;

use super::condition::{Condition, Thresholds};
use super::conditions::Conditions;
use super::observation::{Moment, Observation};
use super::telling::tell;
use crate::error::Remedy;
use crate::port::{Alert, AlertHandler, ConditionAlert, ConditionState, Leases};
use crate::telemetry::metrics::ALERT_FIRING;

/// The lease of the process that tells what all of them see.
const LEASE_NAME: &str = "alerts";

/// Keeps watch over the pipeline's conditions. All processes may: one of them tells people.
#[derive(Debug)]
pub struct ConditionWatch {
    leases: Arc<dyn Leases>,
    handlers: Vec<Arc<dyn AlertHandler>>,
    thresholds: Thresholds,
    /// How long the telling is left to a process that says nothing.
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    conditions: Conditions,
    /// Until then another process may try to tell people: this one could not.
    yields_until: Option<Duration>,
    /// Whether this process knows what people were told before it was its turn.
    has_recalled: bool,
    /// Whether the next one whose turn it is would find less than people know.
    is_unwritten: bool,
}

/// What another process had to tell is taken for told after so many leases: it may have died, or may not reach anybody, and
/// the next one tells then.
const LEASES_UNTIL_TOLD: u32 = 4;

/// For so many leases a process that could not tell leaves it to others.
const LEASES_YIELDED: u32 = 2;

impl ConditionWatch {
    /// Has seen nothing yet. `lease` is longer than it takes from one observation to the next. Without handlers it judges, and
    /// tells nobody.
    #[must_use]
    pub fn new(
        leases: Arc<dyn Leases>,
        handlers: Vec<Arc<dyn AlertHandler>>,
        thresholds: Thresholds,
        lease: Duration,
    ) -> Self {
        Self { leases, handlers, thresholds, lease, state: Mutex::default() }
    }

    /// Takes in what was seen. What people are to know of it, they are [told](Self::tell).
    pub fn observe(&self, observed: &Observation, now: Moment) {
        self.state().conditions.observe(observed, &self.thresholds, now);
        let met = self.met();
        for name in Condition::ALL.iter().map(|condition| condition.name()) {
            let fires = |alert: &ConditionAlert| alert.name == name && alert.state == ConditionState::Firing;
            gauge!(ALERT_FIRING.name, "alert" => name).set(f64::from(u8::from(met.iter().any(fires))));
        }
    }

    /// Tells people what they do not know yet; to be called again and again, more often than the lease lasts. What cannot be
    /// told now is told the next time, or by another process. While nobody can be asked whose turn it is, every process tells.
    /// Dropped half-way, the same may be told again.
    pub async fn tell(&self, now: Moment) {
        if self.handlers.is_empty() {
            // Whoever has nobody to tell must not hold the lease of those who have.
            return;
        }
        if !self.state().conditions.has_looked() {
            return;
        }
        let is_ours = self.is_our_turn(now).await;
        if is_ours {
            self.recall(now).await;
        } else {
            let mut state = self.state();
            state.conditions.leave_to_others(now, LEASES_UNTIL_TOLD * self.lease);
            state.has_recalled = false;
        }
        let untold = self.state().conditions.untold();
        for alert in untold.into_iter().filter(|alert| is_ours || alert.is_local) {
            if !self.tell_of(&alert).await {
                // The others would fail alike, and somebody else may succeed.
                self.state().yields_until = Some(now.elapsed + LEASES_YIELDED * self.lease);
                return;
            }
            let mut state = self.state();
            state.conditions.told(&alert);
            state.is_unwritten |= is_ours && !alert.is_local;
        }
        if is_ours {
            self.write_down().await;
        }
    }

    /// Takes over what people were told by whoever told them before. While that cannot be read, they may be told again.
    async fn recall(&self, now: Moment) {
        if self.state().has_recalled {
            return;
        }
        match self.leases.left(LEASE_NAME).await {
            Ok(left) => {
                let known = left.and_then(|left| serde_json::from_str(&left).ok()).unwrap_or_default();
                let mut state = self.state();
                state.conditions.recall(known, now);
                state.has_recalled = true;
            }
            Err(error) => tracing::debug!(%error, "not known what people were told before"),
        }
    }

    /// Leaves what people know to whoever tells them next.
    async fn write_down(&self) {
        let known = {
            let state = self.state();
            if !state.is_unwritten {
                return;
            }
            state.conditions.known()
        };
        let Ok(note) = serde_json::to_string(&known) else { return };
        match self.leases.leave(LEASE_NAME, &note).await {
            // Where the lease is another's by now, that one has told and written by itself.
            Ok(_) => self.state().is_unwritten = false,
            Err(error) => tracing::debug!(%error, "what people were told is not written down yet"),
        }
    }

    async fn is_our_turn(&self, now: Moment) -> bool {
        if self.state().yields_until.is_some_and(|until| now.elapsed < until) {
            return false;
        }
        self.leases.hold(LEASE_NAME, self.lease).await.unwrap_or_else(|error| {
            match error.remedy() {
                Remedy::Retry => tracing::debug!(%error, "not known whose turn it is to tell people"),
                Remedy::TryLater | Remedy::Park | Remedy::Halt => {
                    tracing::warn!(%error, "not known whose turn it is to tell people, so every process does");
                }
            }
            true
        })
    }

    /// Conditions that are met, the gravest first.
    #[must_use]
    pub fn met(&self) -> Vec<ConditionAlert> {
        self.state().conditions.met()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves it half-done, so what a panicking holder left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everybody was told.
    async fn tell_of(&self, alert: &ConditionAlert) -> bool {
        let told = tell(&self.handlers, &Alert::Condition(alert.clone())).await;
        told.inspect_err(|error| tracing::warn!(%error, "people were not told; they are told later: {alert}")).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use jiff::Timestamp;

    use super::*;
    use crate::adapter::memory::MemoryLeases;
    use crate::alerts::ObservedIndex;
    use crate::error::{Error, ErrorKind};

    /// Takes what it is told, unless it is away.
    #[derive(Debug, Default)]
    struct Person {
        is_away: Mutex<bool>,
        told: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl AlertHandler for Person {
        async fn alert(&self, alert: &Alert) -> Result<(), Error> {
            if *self.is_away.lock().unwrap() {
                return Err(Error::new(ErrorKind::Unavailable, "away"));
            }
            self.told.lock().unwrap().push(alert.to_string());
            Ok(())
        }
    }

    /// Two processes that watch the same, and whom they tell.
    fn two() -> (ConditionWatch, ConditionWatch, Arc<Person>) {
        let (leases, person) = (MemoryLeases::default(), Arc::new(Person::default()));
        let watch = |leases: MemoryLeases| {
            let handlers = vec![Arc::clone(&person) as Arc<dyn AlertHandler>];
            ConditionWatch::new(Arc::new(leases), handlers, Thresholds::default(), Duration::from_secs(15))
        };
        (watch(leases.clone()), watch(leases.another()), person)
    }

    fn letters(count: u64) -> Observation {
        Observation { dead_letters: Some(count), ..Observation::default() }
    }

    async fn look(watch: &ConditionWatch, observed: &Observation, seconds: u64) {
        watch.observe(observed, at(seconds));
        watch.tell(at(seconds)).await;
    }

    fn at(seconds: u64) -> Moment {
        Moment { at: Timestamp::UNIX_EPOCH, elapsed: Duration::from_secs(1_000 + seconds) }
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_processes_one_tells_when_a_condition_begins_and_when_it_ends() {
        let (one, other, person) = two();
        for (seconds, count) in [(0, 200), (5, 200), (10, 0), (40, 0), (75, 0), (80, 0)] {
            look(&one, &letters(count), seconds).await;
            look(&other, &letters(count), seconds).await;
        }
        let told = person.told.lock().unwrap().join("\n");
        assert_eq!(told.matches("DeadLettersGrowing").count(), 2, "{told}");
        assert!(told.starts_with("DeadLettersGrowing: 200 dead letters") && told.contains("\nresolved: "), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_told_when_it_can_be() {
        let (one, _, person) = two();
        *person.is_away.lock().unwrap() = true;
        look(&one, &letters(200), 0).await;
        *person.is_away.lock().unwrap() = false;
        for seconds in [5, 29, 30, 35] {
            look(&one, &letters(200), seconds).await;
        }
        assert_eq!(person.told.lock().unwrap().len(), 1);
    }

    /// Two processes whose clocks go on together, for so many seconds.
    async fn look_for(seconds: std::ops::Range<u64>, watches: &[&ConditionWatch]) {
        for second in seconds {
            for watch in watches {
                look(watch, &letters(200), second).await;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_process_that_tells_dies_before_it_told_another_one_does() {
        let (one, other, person) = two();
        look(&one, &letters(0), 0).await;
        drop(one);
        look(&other, &letters(200), 1).await;
        assert!(person.told.lock().unwrap().is_empty(), "it is the other's turn");
        look_for(2..60, &[&other]).await;
        assert_eq!(person.told.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_cannot_tell_leaves_it_to_one_that_can() {
        let leases = MemoryLeases::default();
        let person = Arc::new(Person::default());
        let deaf = Arc::new(Person { is_away: Mutex::new(true), ..Person::default() });
        let watch = |leases: MemoryLeases, person: &Arc<Person>| {
            let handlers = vec![Arc::clone(person) as Arc<dyn AlertHandler>];
            ConditionWatch::new(Arc::new(leases), handlers, Thresholds::default(), Duration::from_secs(15))
        };
        let (cut_off, well) = (watch(leases.clone(), &deaf), watch(leases.another(), &person));
        look_for(0..120, &[&cut_off, &well]).await;
        assert_eq!(person.told.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_with_nobody_to_tell_judges_and_leaves_the_telling_to_one_that_has() {
        let (leases, person) = (MemoryLeases::default(), Arc::new(Person::default()));
        let watch = |leases: MemoryLeases, handlers| {
            ConditionWatch::new(Arc::new(leases), handlers, Thresholds::default(), Duration::from_secs(15))
        };
        let silent = watch(leases.clone(), Vec::new());
        let speaking = watch(leases.another(), vec![Arc::clone(&person) as Arc<dyn AlertHandler>]);
        look(&silent, &letters(200), 0).await;
        assert_eq!(silent.met()[0].state, ConditionState::Firing);
        look(&speaking, &letters(200), 1).await;
        assert_eq!(person.told.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_process_told_before_it_ended_is_not_told_again_and_is_told_to_be_over_by_the_next() {
        let (leases, person) = (MemoryLeases::default(), Arc::new(Person::default()));
        let watch = || {
            let handlers = vec![Arc::clone(&person) as Arc<dyn AlertHandler>];
            ConditionWatch::new(Arc::new(leases.clone()), handlers, Thresholds::default(), Duration::from_secs(15))
        };
        let told = || person.told.lock().unwrap().clone();
        look(&watch(), &letters(200), 0).await;
        let next = watch();
        look(&next, &letters(300), 5).await;
        assert_eq!(told().len(), 1, "people know");
        // It was over while nobody looked.
        let last = watch();
        for seconds in [10, 15, 80] {
            look(&last, &letters(0), seconds).await;
        }
        assert_eq!(
            told()[1..],
            ["resolved: DeadLettersGrowing: it was: 200 dead letters wait for a person (more than 100)"]
        );
        let after = watch();
        for seconds in [85, 90, 160] {
            look(&after, &letters(0), seconds).await;
        }
        assert_eq!(told().len(), 2, "that, too, people know");
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_one_process_sees_it_tells_itself() {
        let (one, other, person) = two();
        look(&one, &letters(0), 0).await;
        let index = ObservedIndex { fallbacks_per_minute: Some(30.0), ..ObservedIndex::default() };
        let seen = Observation {
            indexes: [("jobs".to_owned(), index)].into(),
            dead_letters: Some(0),
            ..Observation::default()
        };
        look(&other, &seen, 1).await;
        assert!(person.told.lock().unwrap()[0].starts_with("FallbackActivated: jobs: PostgreSQL answered 30 searches"));
    }
}
