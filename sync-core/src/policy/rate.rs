//! How often people are told something. Pure.

use std::collections::VecDeque;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// So many in any minute, and no more. The time is what has passed since a moment of the caller's choice.
#[derive(Debug)]
pub(crate) struct Rate {
    per_minute: usize,
    /// When those of the last minute were spent, the oldest first.
    spent: VecDeque<Duration>,
}

impl Rate {
    /// At least one a minute.
    #[must_use]
    pub(crate) fn new(per_minute: usize) -> Self {
        Self { per_minute: per_minute.max(1), spent: VecDeque::new() }
    }

    /// How many may be spent at this moment.
    pub(crate) fn free(&mut self, now: Duration) -> usize {
        while self.spent.front().is_some_and(|spent| now.saturating_sub(*spent) >= MINUTE) {
            self.spent.pop_front();
        }
        self.per_minute.saturating_sub(self.spent.len())
    }

    /// One was spent.
    pub(crate) fn spend(&mut self, now: Duration) {
        self.spent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_than_its_share() {
        let mut rate = Rate::new(2);
        let at = Duration::from_secs;
        assert_eq!(rate.free(at(0)), 2);
        rate.spend(at(0));
        rate.spend(at(30));
        assert_eq!([30, 59, 60, 89, 90].map(|second| rate.free(at(second))), [0, 0, 1, 1, 2]);
        assert_eq!(Rate::new(0).free(at(0)), 1);
    }
}
