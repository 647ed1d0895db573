//! How the conditions of the pipeline stand, and what of them people have yet to be told. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, Thresholds};
use super::observation::{Moment, Observation};
use super::reading::{Reading, readings};
use crate::port::{ConditionAlert, ConditionState};

/// How a condition stands that is met, or of which people were told.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    reading: Reading,
    /// When it was met first.
    since: Moment,
    /// When it was seen as over first.
    over_since: Option<Duration>,
    /// When it began to fire.
    fires_since: Option<Duration>,
    is_told: bool,
}

/// How all conditions stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    standing: BTreeMap<(Condition, String), Standing>,
    /// What is over, and people were told of when it was not.
    resolved: Vec<(Duration, ConditionAlert)>,
    /// What is looked at.
    looked_at: BTreeSet<(Condition, String)>,
}

/// What people were told of, and not that it is over: for whoever tells them next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    name: String,
    subject: String,
    since: Timestamp,
    summary: String,
}

impl Conditions {
    /// Takes in what was seen. What could not be asked stays as it was.
    pub(super) fn observe(&mut self, observed: &Observation, thresholds: &Thresholds, now: Moment) {
        self.looked_at.clear();
        for reading in readings(observed, thresholds) {
            let key = (reading.condition, reading.subject.clone());
            self.looked_at.insert(key.clone());
            match (reading.is_met, self.standing.get_mut(&key)) {
                (Some(true), known) => {
                    let fresh = || Standing {
                        reading: reading.clone(),
                        since: now,
                        over_since: None,
                        fires_since: None,
                        is_told: false,
                    };
                    let standing = match known {
                        Some(known) => known,
                        None => self.standing.entry(key).or_insert_with(fresh),
                    };
                    let hold = reading.condition.hold(thresholds);
                    (standing.reading, standing.over_since) = (reading, None);
                    if standing.fires_since.is_none() && now.elapsed.saturating_sub(standing.since.elapsed) >= hold {
                        standing.fires_since = Some(now.elapsed);
                    }
                }
                (Some(false), Some(known)) => {
                    let over_since = *known.over_since.get_or_insert(now.elapsed);
                    let is_settled = now.elapsed.saturating_sub(over_since) >= thresholds.settle;
                    if known.fires_since.is_none() || is_settled {
                        let over = self.standing.remove(&key).filter(|over| over.is_told);
                        self.resolved.extend(over.map(|over| (now.elapsed, over.alert(ConditionState::Resolved))));
                    }
                }
                (Some(false), None) | (None, _) => {}
            }
        }
    }

    /// Those that are met, the gravest first: firing, or pending until they have been met for long enough.
    pub(super) fn met(&self) -> Vec<ConditionAlert> {
        let state = |standing: &Standing| match standing.fires_since {
            Some(_) => ConditionState::Firing,
            None => ConditionState::Pending,
        };
        let mut all: Vec<_> = self.standing.values().map(|standing| standing.alert(state(standing))).collect();
        all.sort_by_key(|alert| (alert.state, std::cmp::Reverse(alert.severity)));
        all
    }

    /// What people have yet to be told.
    pub(super) fn untold(&self) -> Vec<ConditionAlert> {
        let firing = self.standing.values().filter(|standing| standing.fires_since.is_some() && !standing.is_told);
        let firing = firing.map(|standing| standing.alert(ConditionState::Firing));
        firing.chain(self.resolved.iter().map(|(_, alert)| alert.clone())).collect()
    }

    /// People know of this.
    pub(super) fn told(&mut self, alert: &ConditionAlert) {
        match alert.state {
            ConditionState::Resolved => self.resolved.retain(|(_, resolved)| resolved.key() != alert.key()),
            ConditionState::Firing | ConditionState::Pending => {
                let told = self.standing.values_mut().find(|standing| standing.is_about(alert));
                told.into_iter().for_each(|standing| standing.is_told = true);
            }
        }
    }

    /// Whether anything was seen.
    pub(super) fn has_looked(&self) -> bool {
        !self.looked_at.is_empty()
    }

    /// What people know of what all processes see.
    pub(super) fn known(&self) -> Vec<Known> {
        let told = self.standing.values().filter(|standing| standing.is_told && !standing.reading.condition.is_local());
        let known = told.map(|Standing { reading: Reading { condition, subject, summary, .. }, since, .. }| Known {
            name: condition.name().to_owned(),
            subject: subject.clone(),
            since: since.at,
            summary: summary.clone(),
        });
        known.collect()
    }

    /// People were told this by others, and may have yet to be told that it is over.
    pub(super) fn recall(&mut self, known: Vec<Known>, now: Moment) {
        for Known { name, subject, since, summary } in known {
            // One of another version of this program is nobody's here.
            let Some(condition) = Condition::ALL.iter().copied().find(|condition| condition.name() == name) else {
                continue;
            };
            let key = (condition, subject.clone());
            let reading = Reading { condition, subject, is_met: None, summary };
            let recalled = Standing {
                reading,
                since: Moment { at: since, ..now },
                over_since: None,
                fires_since: Some(now.elapsed),
                is_told: true,
            };
            if !self.looked_at.contains(&key) {
                self.resolved.push((now.elapsed, recalled.alert(ConditionState::Resolved)));
                continue;
            }
            let standing = self.standing.entry(key).or_insert(recalled);
            standing.is_told = true;
            standing.fires_since.get_or_insert(now.elapsed);
        }
    }

    /// Another process tells people of what all of them see: what came longer ago than `after` has been told.
    pub(super) fn leave_to_others(&mut self, now: Moment, after: Duration) {
        let is_old = |at: Duration| now.elapsed.saturating_sub(at) >= after;
        for standing in self.standing.values_mut().filter(|standing| !standing.reading.condition.is_local()) {
            standing.is_told |= standing.fires_since.is_some_and(is_old);
        }
        self.resolved.retain(|(at, alert)| alert.is_local || !is_old(*at));
    }
}

impl Standing {
    fn alert(&self, state: ConditionState) -> ConditionAlert {
        let Reading { condition, subject, summary, .. } = &self.reading;
        ConditionAlert {
            name: condition.name(),
            subject: subject.clone(),
            severity: condition.severity(),
            state,
            since: self.since.at,
            summary: summary.clone(),
            is_local: condition.is_local(),
        }
    }

    fn is_about(&self, alert: &ConditionAlert) -> bool {
        (self.reading.condition.name(), &self.reading.subject) == (alert.name, &alert.subject)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::alerts::{Health, ObservedIndex};
    use crate::port::Severity;

    fn at(seconds: u64) -> Moment {
        // Whatever people's clock says meanwhile.
        Moment { at: Timestamp::UNIX_EPOCH, elapsed: Duration::from_secs(1_000 + seconds) }
    }

    fn healthy() -> ObservedIndex {
        ObservedIndex {
            health: Some(Health::Green),
            sync_lag: Some(Duration::ZERO),
            sync_lag_may_be_longer: false,
            consumer_lag: Some(0),
            fallbacks_per_minute: Some(0.0),
        }
    }

    fn observed(index: ObservedIndex, dead_letters: Option<u64>) -> Observation {
        let faulty_watches = dead_letters.map(|_| Vec::new());
        Observation { indexes: [("jobs".to_owned(), index)].into(), dead_letters, faulty_watches }
    }

    fn told(conditions: &Conditions) -> Vec<(&'static str, ConditionState)> {
        conditions.untold().iter().map(|alert| (alert.name, alert.state)).collect()
    }

    fn watched(steps: &[(u64, ObservedIndex, Option<u64>)]) -> Conditions {
        let mut conditions = Conditions::default();
        for (seconds, index, letters) in steps {
            conditions.observe(&observed(index.clone(), *letters), &Thresholds::default(), at(*seconds));
        }
        conditions
    }

    #[test]
    fn each_condition_fires_just_above_its_threshold_and_not_at_it() {
        let lag = |seconds| ObservedIndex { sync_lag: Some(Duration::from_secs(seconds)), ..healthy() };
        let consumer = |behind| ObservedIndex { consumer_lag: Some(behind), ..healthy() };
        let fallbacks = |count| ObservedIndex { fallbacks_per_minute: Some(count), ..healthy() };
        for (at_it, above, letters, name) in [
            (lag(300), lag(301), [0, 0], "SyncLagHigh"),
            (consumer(10_000), consumer(10_001), [0, 0], "ConsumerLagHigh"),
            (fallbacks(10.0), fallbacks(11.0), [0, 0], "FallbackActivated"),
            (healthy(), healthy(), [100, 101], "DeadLettersGrowing"),
        ] {
            let quiet = watched(&[(0, at_it, Some(letters[0]))]);
            assert!(!told(&quiet).iter().any(|(fires, _)| *fires == name), "{name} at its threshold");
            let loud = watched(&[(0, above, Some(letters[1]))]);
            assert_eq!(told(&loud), [(name, ConditionState::Firing)]);
        }
    }

    #[test]
    fn a_cluster_that_is_not_green_and_a_lag_of_a_minute_are_told_when_they_last() {
        let ill = ObservedIndex { health: Some(Health::Yellow), ..healthy() };
        let late = ObservedIndex { sync_lag: Some(Duration::from_secs(61)), ..healthy() };
        for (seen, name) in [(ill, "SearchIndexUnhealthy"), (late, "SyncLagNoticed")] {
            let pending = watched(&[(0, seen.clone(), Some(0)), (59, seen.clone(), Some(0))]);
            assert!(told(&pending).is_empty());
            assert_eq!(pending.met()[0].state, ConditionState::Pending);
            let firing = watched(&[(0, seen.clone(), Some(0)), (60, seen.clone(), Some(0))]);
            assert_eq!(told(&firing), [(name, ConditionState::Firing)]);
            let passing = watched(&[(0, seen.clone(), Some(0)), (30, healthy(), Some(0)), (60, seen, Some(0))]);
            assert!(told(&passing).is_empty(), "{name} began anew");
        }
    }

    #[test]
    fn what_fires_is_told_once_and_its_end_once_it_has_been_over_for_a_while() {
        let late = ObservedIndex { sync_lag: Some(Duration::from_secs(400)), ..healthy() };
        let mut conditions = watched(&[(0, late.clone(), Some(0))]);
        let alert = conditions.untold().remove(0);
        conditions.told(&alert);
        let mut see = |seconds, index: &ObservedIndex| {
            conditions.observe(&observed(index.clone(), Some(0)), &Thresholds::default(), at(seconds));
            told(&conditions).into_iter().filter(|(name, _)| *name == "SyncLagHigh").collect::<Vec<_>>()
        };
        assert!(see(5, &late).is_empty(), "people know");
        assert!(see(10, &healthy()).is_empty(), "for how long?");
        assert!(see(20, &late).is_empty(), "it was not over");
        assert!(see(30, &healthy()).is_empty() && see(89, &healthy()).is_empty());
        assert_eq!(see(90, &healthy()), [("SyncLagHigh", ConditionState::Resolved)]);
        assert_eq!(see(95, &healthy()).len(), 1, "until it was told");
        let over = conditions.untold().remove(0);
        conditions.told(&over);
        assert!(told(&conditions).is_empty() && conditions.met().is_empty());
    }

    #[test]
    fn what_was_over_before_anybody_was_told_is_not_told() {
        let late = ObservedIndex { sync_lag: Some(Duration::from_secs(400)), ..healthy() };
        assert!(told(&watched(&[(0, late, Some(0)), (10, healthy(), Some(0)), (70, healthy(), Some(0))])).is_empty());
    }

    #[test]
    fn a_lag_that_is_only_partly_known_may_begin_and_is_not_over() {
        let mut conditions = Conditions::default();
        let partly = |seconds| ObservedIndex {
            sync_lag: Some(Duration::from_secs(seconds)),
            sync_lag_may_be_longer: true,
            ..healthy()
        };
        conditions.observe(&observed(partly(301), Some(0)), &Thresholds::default(), at(0));
        assert_eq!(told(&conditions), [("SyncLagHigh", ConditionState::Firing)]);
        for seconds in [60, 600] {
            conditions.observe(&observed(partly(0), Some(0)), &Thresholds::default(), at(seconds));
        }
        let is_late = |conditions: &Conditions| conditions.met().iter().any(|alert| alert.name == "SyncLagHigh");
        assert!(is_late(&conditions), "it may wait where nobody can be asked");
        for seconds in [660, 720] {
            conditions.observe(&observed(healthy(), Some(0)), &Thresholds::default(), at(seconds));
        }
        assert!(!is_late(&conditions));
    }

    #[test]
    fn what_cannot_be_asked_neither_fires_nor_is_over() {
        let late = ObservedIndex { sync_lag: Some(Duration::from_secs(400)), ..healthy() };
        let silent = ObservedIndex::default();
        let conditions = watched(&[(0, late, Some(500)), (600, silent, None)]);
        let names: Vec<_> = conditions.met().iter().map(|alert| alert.name).collect();
        assert!(names.contains(&"SyncLagHigh") && names.contains(&"DeadLettersGrowing"), "{names:?}");
        assert_eq!(names[0], "DeadLettersGrowing", "the gravest first");
    }

    #[test]
    fn what_another_process_tells_is_not_told_again_but_for_what_only_this_one_sees() {
        let both =
            ObservedIndex { sync_lag: Some(Duration::from_secs(400)), fallbacks_per_minute: Some(20.0), ..healthy() };
        let mut conditions = watched(&[(0, both.clone(), Some(0))]);
        conditions.leave_to_others(at(5), Duration::from_secs(15));
        assert_eq!(conditions.untold().len(), 2, "the other one may have died before it told");
        conditions.leave_to_others(at(15), Duration::from_secs(15));
        assert_eq!(told(&conditions), [("FallbackActivated", ConditionState::Firing)]);
    }

    #[test]
    fn a_table_whose_changes_write_no_events_is_told_of_by_its_name_when_it_stays_so() {
        let faulty = |tables: &[&str]| Observation {
            faulty_watches: Some(tables.iter().map(|table| (*table).to_owned()).collect()),
            ..observed(healthy(), Some(0))
        };
        let mut conditions = Conditions::default();
        for (seconds, tables) in [(0, &["public.jobs"][..]), (59, &["public.jobs"])] {
            conditions.observe(&faulty(tables), &Thresholds::default(), at(seconds));
        }
        assert_eq!(told(&conditions), []);
        conditions.observe(&faulty(&["public.jobs", "public.sent"]), &Thresholds::default(), at(60));
        let alert = conditions.untold().remove(0);
        assert_eq!(
            (alert.name, alert.severity, alert.state),
            ("WatchesFaulty", Severity::Critical, ConditionState::Firing)
        );
        assert!(alert.summary.contains("public.jobs, public.sent"), "{}", alert.summary);
        conditions.told(&alert);
        for seconds in [70, 130] {
            conditions.observe(&faulty(&[]), &Thresholds::default(), at(seconds));
        }
        assert_eq!(told(&conditions), [("WatchesFaulty", ConditionState::Resolved)]);
    }

    #[test]
    fn a_cluster_that_answered_again_and_may_not_be_asked_is_not_ill_for_ever() {
        let of = |health| ObservedIndex { health: Some(health), ..healthy() };
        let mut conditions = watched(&[(0, of(Health::Silent), Some(0)), (60, of(Health::Silent), Some(0))]);
        let alert = conditions.untold().remove(0);
        conditions.told(&alert);
        for seconds in [70, 130] {
            conditions.observe(&observed(of(Health::Untold), Some(0)), &Thresholds::default(), at(seconds));
        }
        assert_eq!(told(&conditions), [("SearchIndexUnhealthy", ConditionState::Resolved)]);
    }
}
