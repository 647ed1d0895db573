//! Which of several replicas of a database to read from. Told what each has, and when the primary had it.

use std::collections::VecDeque;
use std::time::Duration;

/// So many samples are kept: with one a second, lags of up to some ten minutes are told, of longer ones that they are longer.
const SAMPLES: usize = 600;

/// When the primary was at which position of its log. Times are since any fixed moment, on one clock that never goes back.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogClock {
    samples: VecDeque<(Duration, u64)>,
}

impl LogClock {
    /// The primary was at `position` when it was asked at `now`.
    pub(crate) fn note(&mut self, now: Duration, position: u64) {
        if self.samples.back().is_some_and(|(_, last)| *last == position) {
            return;
        }
        // Another server has become the primary, or this one lost what it had: what it had before says nothing.
        if self.samples.back().is_some_and(|(_, last)| *last > position) {
            self.samples.clear();
        }
        self.samples.push_back((now, position));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// For how long the primary has had something, at `now`, that a replica at `position` lacks; [`Duration::MAX`] for longer
    /// than is known.
    #[must_use]
    pub(crate) fn behind(&self, now: Duration, position: u64) -> Duration {
        match self.samples.iter().position(|(_, had)| *had > position) {
            None => Duration::ZERO,
            // Nobody knows how long before the first look.
            Some(0) => Duration::MAX,
            Some(place) => self.samples.get(place).map_or(Duration::MAX, |(when, _)| now.saturating_sub(*when)),
        }
    }
}

/// What is known of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaState {
    /// It answers, and is so far behind.
    Behind(Duration),
    /// It did not answer when it was asked last, or has not been asked yet.
    Unreachable,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerChoice {
    /// The one at this place.
    Replica(usize),
    /// The primary.
    Primary,
}

/// Whom to ask one after the other: the replicas that are close enough, each call beginning with another one; the primary;
/// then whoever may still answer, the freshest first.
#[must_use]
pub(crate) fn in_turn(replicas: &[ReplicaState], turn: usize, max_lag: Duration) -> Vec<ServerChoice> {
    let count = replicas.len();
    let places = || (0..count).map(|step| (turn % count.max(1) + step) % count.max(1));
    let is_close = |place: &usize| matches!(replicas[*place], ReplicaState::Behind(lag) if lag <= max_lag);
    let mut others: Vec<usize> = places().filter(|place| !is_close(place)).collect();
    others.sort_by_key(|place| match replicas[*place] {
        ReplicaState::Behind(lag) => lag,
        ReplicaState::Unreachable => Duration::MAX,
    });
    let close = places().filter(is_close).map(ServerChoice::Replica);
    close.chain([ServerChoice::Primary]).chain(others.into_iter().map(ServerChoice::Replica)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_replica_is_behind_since_the_primary_has_what_it_lacks() {
        let mut clock = LogClock::default();
        assert_eq!(clock.behind(SECOND, 0), Duration::ZERO, "nothing is known");
        for (second, position) in [(1, 10), (2, 20), (3, 20), (4, 30)] {
            clock.note(SECOND * second, position);
        }
        assert_eq!(clock.behind(9 * SECOND, 30), Duration::ZERO);
        assert_eq!(clock.behind(9 * SECOND, 31), Duration::ZERO, "it is ahead of what was seen last");
        assert_eq!(clock.behind(9 * SECOND, 20), 5 * SECOND);
        assert_eq!(clock.behind(9 * SECOND, 19), 7 * SECOND, "since it was seen there first");
        assert_eq!(clock.behind(9 * SECOND, 9), Duration::MAX, "longer than anybody has looked");
    }

    #[test]
    fn an_idle_primary_leaves_nobody_behind() {
        let mut clock = LogClock::default();
        for second in 1..100 {
            clock.note(SECOND * second, 10);
        }
        assert_eq!(clock.behind(100 * SECOND, 10), Duration::ZERO);
    }

    #[test]
    fn a_primary_that_is_back_in_its_log_is_another_one() {
        let mut clock = LogClock::default();
        clock.note(SECOND, 100);
        clock.note(2 * SECOND, 50);
        assert_eq!(clock.behind(3 * SECOND, 50), Duration::ZERO);
        assert_eq!(clock.behind(3 * SECOND, 40), Duration::MAX);
    }

    #[test]
    fn no_more_samples_are_kept_than_are_needed() {
        let mut clock = LogClock::default();
        for second in 0..10_000 {
            clock.note(SECOND * second, u64::from(second) + 1);
        }
        assert_eq!((clock.samples.len(), clock.behind(10_000 * SECOND, 9_402)), (SAMPLES, 598 * SECOND));
        assert_eq!(clock.behind(10_000 * SECOND, 0), Duration::MAX);
    }

    #[test]
    fn close_replicas_take_turns_before_the_primary_and_the_rest_comes_after_it() {
        use ServerChoice::{Primary, Replica};
        let close = ReplicaState::Behind(SECOND);
        let far = |seconds| ReplicaState::Behind(seconds * SECOND);
        assert_eq!(in_turn(&[], 3, SECOND), [Primary]);
        assert_eq!(in_turn(&[close, close], 0, SECOND), [Replica(0), Replica(1), Primary]);
        assert_eq!(in_turn(&[close, close], 7, SECOND), [Replica(1), Replica(0), Primary]);
        let replicas = [far(9), ReplicaState::Unreachable, close, far(2)];
        assert_eq!(in_turn(&replicas, 0, SECOND), [Replica(2), Primary, Replica(3), Replica(0), Replica(1)]);
        assert_eq!(in_turn(&replicas, usize::MAX, SECOND).len(), 5);
    }
}
