//! How often, and after what delays, a key that failed is tried again.

use std::time::Duration;

/// Tries of one event before it is parked. The first one, from its own topic, counts; each further one waits longer
/// than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries in all; 3 unless said. One means that nothing is tried again.
    pub attempts: u32,
    /// The delay before the second try; 1 second unless said.
    pub first: Duration,
    /// How many times longer each further delay is; 2 unless said.
    pub multiplier: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, first: Duration::from_secs(1), multiplier: 2 }
    }
}

setters! {
    RetryPolicy {
        attempts: u32,
        first: Duration,
        multiplier: u32,
    }
}

impl RetryPolicy {
    /// This many tries in all, the second one after `first`, each further one after a delay so many times longer.
    #[must_use]
    pub const fn new(attempts: u32, first: Duration, multiplier: u32) -> Self {
        Self { attempts, first, multiplier }
    }

    /// How long to wait after try number `attempts` (from 1) before the next one; `None` when that was the last.
    #[must_use]
    pub fn delay(&self, attempts: u32) -> Option<Duration> {
        if attempts >= self.attempts {
            return None;
        }
        let factor = self.multiplier.saturating_pow(attempts.saturating_sub(1));
        Some(self.first.saturating_mul(factor).min(LONGEST))
    }

    /// The longest of the delays; zero when nothing is tried again.
    #[must_use]
    pub fn longest_delay(&self) -> Duration {
        let last = self.attempts.checked_sub(1).filter(|tries| *tries > 0);
        last.and_then(|tries| self.delay(tries)).unwrap_or_default()
    }

    /// The different delays, shortest first.
    #[must_use]
    pub fn delays(&self) -> Vec<Duration> {
        let mut delays: Vec<_> = (1..self.attempts).map_while(|attempts| self.delay(attempts)).collect();
        delays.dedup();
        delays
    }

    /// A topic, and those in which what failed waits to be tried again.
    #[must_use]
    pub fn topics(&self, topic: &str) -> Vec<String> {
        let waiting = self.delays().into_iter().map(|delay| retry_topic(topic, delay));
        std::iter::once(topic.to_owned()).chain(waiting).collect()
    }
}

/// Nobody waits longer for a retry.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// The topic in which what failed in `topic` waits for that long.
#[must_use]
pub fn retry_topic(topic: &str, delay: Duration) -> String {
    format!("{topic}-retry-{}", delay.as_millis())
}

/// How long messages wait in the topic `name`, if it is a retry topic of `topic`.
#[must_use]
pub fn retry_delay(topic: &str, name: &str) -> Option<Duration> {
    let millis = name.strip_prefix(topic)?.strip_prefix("-retry-")?;
    let millis = millis.parse().ok().map(Duration::from_millis)?;
    (retry_topic(topic, millis) == name).then_some(millis)
}

/// The topic with a note of every dead letter that an indexer of `topic` parks.
#[must_use]
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}-dlt")
}

/// Whether the topic `name` is where messages of `topic` go when they fail, so that nothing else may be published into it.
#[must_use]
pub fn holds_failures_of(topic: &str, name: &str) -> bool {
    retry_delay(topic, name).is_some() || dead_letter_topic(topic) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_attempts_are_made_after_nothing_one_second_and_two() {
        let policy = RetryPolicy::default();
        let delays = [1, 2, 3, 4].map(|attempts| policy.delay(attempts));
        assert_eq!(delays, [Some(Duration::from_secs(1)), Some(Duration::from_secs(2)), None, None]);
        assert_eq!(policy.topics("job-es-sync"), ["job-es-sync", "job-es-sync-retry-1000", "job-es-sync-retry-2000"]);
    }

    #[test]
    fn equal_delays_share_one_topic_and_no_delay_is_endless() {
        let steady = RetryPolicy { attempts: 5, first: Duration::from_secs(3), multiplier: 1 };
        assert_eq!(steady.delays(), [Duration::from_secs(3)]);
        let steep = RetryPolicy { attempts: 100, first: Duration::from_secs(1), multiplier: 1_000 };
        assert_eq!(steep.delays().last(), Some(&LONGEST));
        assert!(RetryPolicy { attempts: 1, ..steady }.delays().is_empty());
    }

    #[test]
    fn a_retry_topic_is_known_by_its_name() {
        assert_eq!(retry_delay("jobs", "jobs-retry-1000"), Some(Duration::from_secs(1)));
        for other in ["jobs", "jobs-dlt", "jobs-retry-", "jobs-retry-soon", "jobs-retry-01", "jobs-retry-1-retry-2"] {
            assert_eq!(retry_delay("jobs", other), None, "{other}");
        }
        assert_eq!(retry_delay("jobs-retry-1", "jobs-retry-1-retry-2"), Some(Duration::from_millis(2)));
    }

    #[test]
    fn what_failed_is_in_the_retry_topics_and_the_dead_letter_topic_alone() {
        let holding = ["jobs", "jobs-retry-1000", "jobs-dlt", "jobs-2", "jobs-retry-1000-dlt"]
            .into_iter()
            .filter(|name| holds_failures_of("jobs", name))
            .collect::<Vec<_>>();
        assert_eq!(holding, ["jobs-retry-1000", "jobs-dlt"]);
    }

    #[test]
    fn the_longest_delay_is_the_last_one() {
        for attempts in 0..6 {
            let policy = RetryPolicy { attempts, ..RetryPolicy::default() };
            assert_eq!(policy.longest_delay(), policy.delays().pop().unwrap_or_default(), "{attempts}");
        }
    }
}
