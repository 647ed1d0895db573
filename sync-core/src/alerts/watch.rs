//! Conditions of the pipeline → people: once each, whichever process sees them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;

use super::conditions::{CONDITIONS, Conditions, Observation, Thresholds};
use crate::port::{Alert, AlertHandler, ConditionAlert, ConditionState, Leases};
use crate::telemetry::metrics::ALERT_FIRING;

/// The lease of the process that tells what all of them see.
const LEASE: &str = "alerts";

/// Keeps watch over the pipeline's conditions. All processes may: one of them tells people.
#[derive(Debug)]
pub struct ConditionWatch {
    leases: Arc<dyn Leases>,
    handlers: Vec<Arc<dyn AlertHandler>>,
    thresholds: Thresholds,
    /// How long the telling is left to a process that says nothing.
    lease: Duration,
    conditions: Conditions,
}

impl ConditionWatch {
    /// Has seen nothing yet. `lease` is longer than it takes from one observation to the next.
    #[must_use]
    pub fn new(
        leases: Arc<dyn Leases>,
        handlers: Vec<Arc<dyn AlertHandler>>,
        thresholds: Thresholds,
        lease: Duration,
    ) -> Self {
        Self { leases, handlers, thresholds, lease, conditions: Conditions::default() }
    }

    /// Takes in what was seen, and tells people what they do not know yet. What cannot be told now is told after a later
    /// observation. While nobody can be asked whose turn it is, every process tells.
    pub async fn observe(&mut self, observed: &Observation, now: Timestamp) {
        self.conditions.observe(observed, &self.thresholds, now);
        for name in CONDITIONS {
            let fires = |alert: &ConditionAlert| alert.name == name && alert.state == ConditionState::Firing;
            let firing = self.met().iter().any(fires);
            gauge!(ALERT_FIRING.name, "alert" => name).set(f64::from(u8::from(firing)));
        }
        let is_ours = self.leases.hold(LEASE, self.lease).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "not known whose turn it is to tell people");
            true
        });
        if !is_ours {
            self.conditions.leave_to_others(now, self.lease);
        }
        for alert in self.conditions.untold().into_iter().filter(|alert| is_ours || alert.is_local) {
            if self.tell(&alert).await {
                self.conditions.told(&alert);
            }
        }
    }

    /// Conditions that are met, the gravest first.
    #[must_use]
    pub fn met(&self) -> Vec<ConditionAlert> {
        self.conditions.met()
    }

    /// Whether everybody was told.
    async fn tell(&self, alert: &ConditionAlert) -> bool {
        for handler in &self.handlers {
            if let Err(error) = handler.alert(&Alert::Condition(alert.clone())).await {
                tracing::warn!(%error, "people were not told; they are told later: {alert}");
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::adapter::memory::MemoryLeases;
    use crate::alerts::conditions::ObservedIndex;
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

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_processes_one_tells_when_a_condition_begins_and_when_it_ends() {
        let (mut one, mut other, person) = two();
        for (seconds, count) in [(0, 200), (5, 200), (10, 0), (40, 0), (75, 0), (80, 0)] {
            one.observe(&letters(count), at(seconds)).await;
            other.observe(&letters(count), at(seconds)).await;
        }
        let told = person.told.lock().unwrap().join("\n");
        assert_eq!(told.matches("DeadLettersGrowing").count(), 2, "{told}");
        assert!(told.starts_with("DeadLettersGrowing: 200 dead letters") && told.contains("\nresolved: "), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_told_when_it_can_be() {
        let (mut one, _, person) = two();
        *person.is_away.lock().unwrap() = true;
        one.observe(&letters(200), at(0)).await;
        *person.is_away.lock().unwrap() = false;
        one.observe(&letters(200), at(5)).await;
        one.observe(&letters(200), at(10)).await;
        assert_eq!(person.told.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_process_that_tells_dies_before_it_told_another_one_does() {
        let (mut one, mut other, person) = two();
        one.observe(&letters(0), at(0)).await;
        other.observe(&letters(200), at(1)).await;
        assert!(person.told.lock().unwrap().is_empty(), "it is the other's turn");
        tokio::time::advance(Duration::from_secs(16)).await;
        drop(one);
        other.observe(&letters(200), at(10)).await;
        assert_eq!(person.told.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_one_process_sees_it_tells_itself() {
        let (mut one, mut other, person) = two();
        one.observe(&letters(0), at(0)).await;
        let index = ObservedIndex { fallbacks_per_minute: Some(30.0), ..ObservedIndex::default() };
        let seen = Observation { indexes: [("jobs".to_owned(), index)].into(), dead_letters: Some(0) };
        other.observe(&seen, at(1)).await;
        assert!(person.told.lock().unwrap()[0].starts_with("FallbackActivated: jobs: PostgreSQL answered 30 searches"));
    }
}
