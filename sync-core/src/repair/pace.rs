//! No more rows in a second than were asked for.

use std::num::NonZeroU32;

use tokio::time::{Duration, Instant, sleep_until};

/// Rows read so far, against the rate.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<NonZeroU32>,
    /// When the next may be read.
    due: Instant,
}

impl Pace {
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self { per_second, due: Instant::now() }
    }

    /// How many may be read together: no more than a tenth of a second's, so that a low rate is not made of bursts.
    pub(super) fn at_once(&self, limit: usize) -> usize {
        let tenth = |rate: NonZeroU32| usize::try_from(rate.get() / 10).unwrap_or(usize::MAX).max(1);
        self.per_second.map_or(limit, |rate| limit.min(tenth(rate)))
    }

    /// Waits until more may be read.
    pub(super) async fn wait(&self) {
        sleep_until(self.due).await;
    }

    /// So many were read. What was missed while a system was down is not made up for.
    pub(super) fn spend(&mut self, rows: usize) {
        if let Some(rate) = self.per_second {
            let cost = Duration::from_secs_f64(rows as f64 / f64::from(rate.get()));
            self.due = self.due.max(Instant::now()) + cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_without_bursts_and_without_making_up_for_a_pause() {
        let mut pace = Pace::new(NonZeroU32::new(1_000));
        assert_eq!(pace.at_once(4_000), 100);
        let began = Instant::now();
        for _ in 0..20 {
            pace.wait().await;
            pace.spend(100);
        }
        pace.wait().await;
        assert_eq!(began.elapsed().as_secs(), 2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let resumed = Instant::now();
        pace.wait().await;
        pace.spend(100);
        pace.wait().await;
        assert_eq!(resumed.elapsed().as_millis().div_ceil(100), 1, "one tenth of a second");
        assert_eq!(Pace::new(NonZeroU32::new(3)).at_once(4_000), 1);
        assert_eq!(Pace::new(None).at_once(4_000), 4_000);
    }
}
