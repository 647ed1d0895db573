//! How long to wait before the next try.

use std::time::Duration;

/// Doubling delays with a ceiling, and jitter so that many who failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub ceiling: Duration,
}

impl Backoff {
    /// Delays from `first` on, and none longer than `ceiling`.
    #[must_use]
    pub const fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling }
    }

    /// The delay after failure number `failures` (from 1).
    ///
    /// `jitter` is a number in `[0, 1)` from the caller's generator: the delay lies between half of the doubled value
    /// and all of it.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.ceiling);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) };

    #[test]
    fn delays_double_up_to_the_ceiling() {
        let full = |failures| BACKOFF.delay(failures, 1.0).as_millis();
        assert_eq!([1, 2, 3, 6, 7, u32::MAX].map(full), [100, 200, 400, 3200, 5000, 5000]);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        assert_eq!(BACKOFF.delay(1, 0.0).as_millis(), 50);
        assert_eq!(BACKOFF.delay(1, 0.5).as_millis(), 75);
    }
}
