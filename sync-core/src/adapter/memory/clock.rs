//! A clock that stands still until it is set.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::port::Clock;

/// A clock that stands still until it is set. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Shows `now` from here on; it may go back.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_set() {
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let later: Timestamp = "2026-01-02T03:05:05Z".parse().unwrap();
        let clock = ManualClock::new(start);
        let same = clock.clone();
        assert_eq!(clock.now(), start);
        clock.set(later);
        assert_eq!((clock.now(), same.now()), (later, later));
    }
}
