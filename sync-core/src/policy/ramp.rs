//! Letting a growing part of what comes through. Counts; the time is told.

use std::time::Duration;

/// The part at the beginning: enough to warm a system, too little to overload it.
const FIRST: f64 = 0.1;

/// From a tenth to all, evenly. Times are since any fixed moment, on one clock that never goes back.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    began: Duration,
    length: Duration,
    /// Parts of a call, which add up until one goes through.
    credit: f64,
}

impl Ramp {
    /// `length` is above zero.
    pub(super) const fn new(began: Duration, length: Duration) -> Self {
        Self { began, length, credit: 0.0 }
    }

    /// Whether all are let through at `now`.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= self.length
    }

    /// Whether one that comes at `now` is let through.
    pub(super) fn lets_through(&mut self, now: Duration) -> bool {
        self.credit += now.saturating_sub(self.began).div_duration_f64(self.length).clamp(FIRST, 1.0);
        let is_through = self.credit >= 1.0;
        if is_through {
            self.credit -= 1.0;
        }
        is_through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1,000 that come at that second of ten.
    fn through(second: u64) -> usize {
        let (began, length) = (Duration::from_secs(100), Duration::from_secs(10));
        let mut ramp = Ramp::new(began, length);
        (0..1_000).filter(|_| ramp.lets_through(began + Duration::from_secs(second))).count()
    }

    #[test]
    fn a_tenth_goes_through_at_first_and_then_more_and_more_and_in_the_end_all() {
        assert!(through(0).abs_diff(100) <= 1);
        assert!(through(1).abs_diff(100) <= 1);
        assert!(through(5).abs_diff(500) <= 1);
        assert!(through(9).abs_diff(900) <= 1);
        assert_eq!(through(10), 1_000);
    }
}
