//! What each condition is told by what was seen of the pipeline. Pure.

use super::condition::{Condition, Thresholds};
use super::observation::{Health, Observation};

/// One condition, about one index or all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) condition: Condition,
    pub(super) subject: String,
    /// `None` when it is not known.
    pub(super) is_met: Option<bool>,
    pub(super) summary: String,
}

/// Whether each condition is met by what was seen.
pub(super) fn readings(observed: &Observation, thresholds: &Thresholds) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (index, seen) in &observed.indexes {
        let reading = |condition, is_met, summary| Reading {
            condition,
            subject: index.clone(),
            is_met,
            summary: format!("{index}: {summary}"),
        };
        let summary = format!("its cluster, or its directory, is {}", seen.health.unwrap_or(Health::Untold).name());
        let is_met = seen.health.map(|health| !matches!(health, Health::Green | Health::Untold));
        readings.push(reading(Condition::SearchIndexUnhealthy, is_met, summary));
        let lag = seen.sync_lag.unwrap_or_default();
        for (condition, most) in
            [(Condition::SyncLagHigh, thresholds.sync_lag), (Condition::SyncLagNoticed, thresholds.sync_lag_noticed)]
        {
            let summary = format!("a change waits for {} s (more than {} s)", lag.as_secs(), most.as_secs());
            let is_met = seen.sync_lag.map(|lag| lag > most).filter(|is_met| *is_met || !seen.sync_lag_may_be_longer);
            readings.push(reading(condition, is_met, summary));
        }
        let (count, most) = (seen.fallbacks_per_minute.unwrap_or_default(), thresholds.fallbacks_per_minute);
        let summary = format!("PostgreSQL answered {count:.0} searches in the last minute (more than {most:.0})");
        let is_met = seen.fallbacks_per_minute.map(|count| count > most);
        readings.push(reading(Condition::FallbackActivated, is_met, summary));
        let (behind, most) = (seen.consumer_lag.unwrap_or_default(), thresholds.consumer_lag);
        let summary = format!("{behind} messages are not indexed yet (more than {most})");
        let is_met = seen.consumer_lag.map(|behind| behind > most);
        readings.push(reading(Condition::ConsumerLagHigh, is_met, summary));
    }
    let (count, most) = (observed.dead_letters.unwrap_or_default(), thresholds.dead_letters);
    readings.push(Reading {
        condition: Condition::DeadLettersGrowing,
        subject: String::new(),
        is_met: observed.dead_letters.map(|count| count > most),
        summary: format!("{count} dead letters wait for a person (more than {most})"),
    });
    let faulty = observed.faulty_watches.as_deref();
    readings.push(Reading {
        condition: Condition::WatchesFaulty,
        subject: String::new(),
        is_met: faulty.map(|tables| !tables.is_empty()),
        summary: format!("not all changes of these tables write events: {}", faulty.unwrap_or_default().join(", ")),
    });
    readings
}
