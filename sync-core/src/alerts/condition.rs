//! What may be wrong with the pipeline, and from when on people are told. Pure.

use std::time::Duration;

use crate::port::Severity;

/// From when on people are told.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Thresholds {
    /// A change that is not in the index for longer; 5 minutes unless said.
    pub sync_lag: Duration,
    /// The same, where it is only noticed; 60 seconds unless said.
    pub sync_lag_noticed: Duration,
    /// More searches in a minute that the database answers; 10 unless said.
    pub fallbacks_per_minute: f64,
    /// More dead letters; 100 unless said.
    pub dead_letters: u64,
    /// More messages of a topic that are not indexed; 10,000 unless said.
    pub consumer_lag: u64,
    /// How long the cluster, a lag that is only noticed, and a faulty watch may be so before people are told; 60 seconds unless said.
    pub hold: Duration,
    /// How long a condition has to be over before people are told that it is; 60 seconds unless said.
    pub settle: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            sync_lag: Duration::from_secs(300),
            sync_lag_noticed: Duration::from_secs(60),
            fallbacks_per_minute: 10.0,
            dead_letters: 100,
            consumer_lag: 10_000,
            hold: Duration::from_secs(60),
            settle: Duration::from_secs(60),
        }
    }
}

setters! {
    Thresholds {
        sync_lag: Duration,
        sync_lag_noticed: Duration,
        fallbacks_per_minute: f64,
        dead_letters: u64,
        consumer_lag: u64,
        hold: Duration,
        settle: Duration,
    }
}

/// What may be wrong with the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Condition {
    /// The cluster of an index is not green, or does not answer.
    SearchIndexUnhealthy,
    /// A change is not in an index for long.
    SyncLagHigh,
    /// The same, for not so long.
    SyncLagNoticed,
    /// PostgreSQL answers many searches of an index.
    FallbackActivated,
    /// There are many dead letters.
    DeadLettersGrowing,
    /// Many messages of a topic are not indexed.
    ConsumerLagHigh,
    /// Changes of a watched or routed table write no events.
    WatchesFaulty,
}

impl Condition {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::SearchIndexUnhealthy,
        Self::SyncLagHigh,
        Self::SyncLagNoticed,
        Self::FallbackActivated,
        Self::DeadLettersGrowing,
        Self::ConsumerLagHigh,
        Self::WatchesFaulty,
    ];

    /// Its name, as rules and runbook have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SearchIndexUnhealthy => "SearchIndexUnhealthy",
            Self::SyncLagHigh => "SyncLagHigh",
            Self::SyncLagNoticed => "SyncLagNoticed",
            Self::FallbackActivated => "FallbackActivated",
            Self::DeadLettersGrowing => "DeadLettersGrowing",
            Self::ConsumerLagHigh => "ConsumerLagHigh",
            Self::WatchesFaulty => "WatchesFaulty",
        }
    }

    /// How grave it is.
    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::SearchIndexUnhealthy | Self::DeadLettersGrowing | Self::WatchesFaulty => Severity::Critical,
            Self::SyncLagHigh | Self::FallbackActivated | Self::ConsumerLagHigh => Severity::Warning,
            Self::SyncLagNoticed => Severity::Info,
        }
    }

    /// How long it may be met before people are told.
    pub(super) const fn hold(self, thresholds: &Thresholds) -> Duration {
        match self {
            Self::SearchIndexUnhealthy | Self::SyncLagNoticed | Self::WatchesFaulty => thresholds.hold,
            Self::SyncLagHigh | Self::FallbackActivated | Self::DeadLettersGrowing | Self::ConsumerLagHigh => {
                Duration::ZERO
            }
        }
    }

    /// Whether only the process that sees it can tell of it: its own searches fell back.
    pub(super) const fn is_local(self) -> bool {
        matches!(self, Self::FallbackActivated)
    }
}
