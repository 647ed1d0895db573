//! From what the stages said to what the conditions are judged by. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use sync_core::alerts::{Health, Observation, ObservedIndex};

use crate::outbox::faulty_tables;
use crate::report::{Answer, Documents, Report};

/// What the conditions are judged by.
pub(super) fn observed(report: &Report, fallbacks: &BTreeMap<String, u64>) -> Observation {
    let index = |(name, answer): (&String, &Answer<Documents>)| {
        let health = match answer {
            Answer::Said(said) => said.health,
            Answer::Failed { .. } => Health::Silent,
        };
        let consumer_lag = report.bus.get(name).and_then(|queue| Some(queue.said()?.messages_behind));
        let observed = ObservedIndex {
            health: Some(health),
            sync_lag: sync_lag(report, name),
            sync_lag_may_be_longer: may_be_longer(report, name),
            consumer_lag,
            fallbacks_per_minute: fallbacks.get(name).map(|count| *count as f64),
        };
        (name.clone(), observed)
    };
    Observation {
        indexes: report.indexes.iter().map(index).collect(),
        dead_letters: report.dead_letters.said().map(|letters| letters.letters),
        faulty_watches: report.watches.said().map(|watches| faulty_tables(watches)),
    }
}

/// Age of the oldest change that is not in this index, as far as it is known where it may wait; `None` when nothing is, and when
/// nothing waits where it is known and another place cannot be asked.
pub(super) fn sync_lag(report: &Report, index: &str) -> Option<Duration> {
    let outbox = report.outbox.said().and_then(|outbox| Some(outbox.reading.as_ref()?.seconds_behind));
    let bus = report.bus.get(index).and_then(|queue| queue.said()?.seconds_behind);
    let oldest = [outbox, bus].into_iter().flatten().reduce(f64::max)?;
    let oldest = Duration::try_from_secs_f64(oldest).ok()?;
    (!oldest.is_zero() || !may_be_longer(report, index)).then_some(oldest)
}

/// Whether a place where changes to this index may wait cannot be asked.
fn may_be_longer(report: &Report, index: &str) -> bool {
    report.outbox.said().is_none() || report.bus.get(index).is_some_and(|queue| queue.said().is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::outbox::Subscription;
    use crate::report::{Leaves, Letters, Outbox, Queue, Reading, in_time};

    async fn away<T>() -> Answer<T> {
        in_time(async { Err(sync_core::Error::new(sync_core::ErrorKind::Unavailable, "away")) }).await
    }

    async fn report(outbox: Option<f64>, bus: Option<f64>) -> Report {
        let place = Subscription { holder: None, term: 1, position: "1:1:".to_owned(), mirrored: false };
        let outbox = match outbox {
            Some(seconds_behind) => Answer::Said(Outbox {
                subscription: "main".to_owned(),
                reading: Some(Reading { events_behind: 1, seconds_behind, place }),
                last_event: None,
            }),
            None => away().await,
        };
        let queue = match bus {
            Some(seconds) => Answer::Said(Queue {
                topic: "jobs".to_owned(),
                messages_behind: 1,
                seconds_behind: Some(seconds),
                waiting_for_retry: 0,
                partitions: Vec::new(),
            }),
            None => away().await,
        };
        Report {
            watches: Answer::Said(Vec::new()),
            outbox,
            bus: [("jobs".to_owned(), queue)].into(),
            indexes: BTreeMap::new(),
            reindexes: Answer::Said(BTreeMap::new()),
            retained: Answer::Said(Leaves::default()),
            dead_letters: Answer::Said(Letters { letters: 0, oldest: None }),
        }
    }

    #[tokio::test]
    async fn a_change_waits_for_as_long_as_is_known_also_while_a_stage_cannot_be_asked() {
        for (outbox, bus, lag) in [
            (Some(3.0), Some(400.0), Some(400)),
            (Some(400.0), None, Some(400)),
            (None, Some(7.0), Some(7)),
            (None, Some(0.0), None),
            (Some(0.0), None, None),
            (Some(0.0), Some(0.0), Some(0)),
            (None, None, None),
        ] {
            let known = sync_lag(&report(outbox, bus).await, "jobs").map(|lag| lag.as_secs());
            assert_eq!(known, lag, "{outbox:?} {bus:?}");
        }
    }
}
