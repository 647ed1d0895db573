//! How long one batch waits between its tries, and what is told meanwhile.

use std::time::Duration;

use super::IndexerConfig;
use super::progress::IndexerProgress;
use crate::error::{Error, Remedy};
use crate::port::Partition;

/// What one batch has waited for so far.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    config: &'a IndexerConfig,
    progress: &'a IndexerProgress,
    partition: Partition,
    /// Names the batch: the offset behind it.
    next: i64,
    // An outage of hours does not make a person's mend wait a minute longer, so they are counted apart.
    outages: u32,
    stops: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(
        config: &'a IndexerConfig,
        progress: &'a IndexerProgress,
        partition: &Partition,
        next: i64,
    ) -> Self {
        Self { config, progress, partition: partition.clone(), next, outages: 0, stops: 0 }
    }

    /// How long to wait after this error, which is told.
    pub(super) fn after(&mut self, error: &Error) -> Duration {
        let partition = &self.partition;
        self.progress.failed(error);
        match error.remedy() {
            Remedy::Retry => {
                self.outages = self.outages.saturating_add(1);
                let delay = self.config.backoff.delay(self.outages, rand::random());
                // An outage of hours is told a dozen times, not thousands.
                if self.outages.is_power_of_two() {
                    tracing::warn!(%partition, %error, outages = self.outages, "waiting {delay:?}");
                }
                self.progress.going(partition, self.next);
                delay
            }
            Remedy::TryLater | Remedy::Park | Remedy::Halt => {
                self.stops = self.stops.saturating_add(1);
                let delay = self.config.stopped.delay(self.stops, rand::random());
                tracing::error!(
                    %partition, %error, "this partition stopped; nothing is lost, it is tried again in {delay:?}"
                );
                self.progress.stopped(partition, self.next, error);
                delay
            }
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn over(&self) {
        if self.outages > 0 || self.stops > 0 {
            tracing::info!(partition = %self.partition, "going on");
            self.progress.going(&self.partition, self.next);
        }
    }
}
