//! What was seen in the last minutes: for rates and for small charts. Pure: it is told the time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::observed::sync_lag;
use crate::report::{PartitionOf, Report};

/// Looks that are remembered: a quarter of an hour of them, five seconds apart.
const POINTS: usize = 180;

/// Where counting events that wait stops.
const MANY: u64 = 1_000_000;

/// What was seen at one moment.
#[derive(Clone, Debug)]
struct Point {
    at: Timestamp,
    seen: Instant,
    last_event: Option<i64>,
    outbox_lag: Option<u64>,
    indexes: BTreeMap<String, IndexPoint>,
    rates: Rates,
}

#[derive(Clone, Debug, Default)]
struct IndexPoint {
    /// Where each partition is that has been committed.
    committed: Option<BTreeMap<i32, i64>>,
    bus_lag: Option<u64>,
    sync_lag: Option<Duration>,
}

/// How fast it goes, in a second; `None` where it is not known.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// Events that are published.
    pub(super) events: Option<f64>,
    /// Messages that are indexed, by index.
    pub(super) indexed: BTreeMap<String, Option<f64>>,
}

/// The last looks.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Point>);

impl History {
    /// One more look.
    pub(super) fn push(&mut self, report: &Report, seen: Instant, at: Timestamp) {
        let outbox = report.outbox.said();
        let index = |name: &String| {
            let queue = report.bus.get(name).and_then(|queue| queue.said());
            let committed = queue.map(|queue| {
                let of = |partition: &PartitionOf| Some((partition.number, partition.committed?));
                queue.partitions.iter().filter_map(of).collect()
            });
            let point = IndexPoint {
                committed,
                bus_lag: queue.map(|queue| queue.messages_behind),
                sync_lag: sync_lag(report, name),
            };
            (name.clone(), point)
        };
        let mut point = Point {
            at,
            seen,
            last_event: outbox.and_then(|outbox| outbox.last_event),
            outbox_lag: outbox.and_then(|outbox| Some(outbox.reading.as_ref()?.events_behind)),
            indexes: report.indexes.keys().map(index).collect(),
            rates: Rates::default(),
        };
        if let Some(before) = self.0.back() {
            point.rates = rates(before, &point, report.bus.is_empty());
        }
        if self.0.len() == POINTS {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    /// How fast it goes now.
    pub(super) fn rates(&self) -> Rates {
        self.0.back().map(|point| point.rates.clone()).unwrap_or_default()
    }

    /// As the status page draws it.
    pub(super) fn to_json(&self) -> Value {
        let names: Vec<_> = self.0.back().into_iter().flat_map(|point| point.indexes.keys()).collect();
        let of_index = |value: &dyn Fn(&Point, &IndexPoint, &str) -> Value| -> Value {
            let line = |name: &&String| {
                let at =
                    |point: &Point| point.indexes.get(*name).map_or(Value::Null, |index| value(point, index, name));
                ((*name).clone(), Value::Array(self.0.iter().map(at).collect()))
            };
            Value::Object(names.iter().map(line).collect())
        };
        let line = |value: &dyn Fn(&Point) -> Value| Value::Array(self.0.iter().map(value).collect());
        json!({
            "at": line(&|point| json!(point.at)),
            "events_per_second": line(&|point| json!(point.rates.events)),
            "outbox_lag_events": line(&|point| json!(point.outbox_lag)),
            "indexed_per_second": of_index(&|point, _, name| json!(point.rates.indexed.get(name))),
            "bus_lag_messages": of_index(&|_, index, _| json!(index.bus_lag)),
            "sync_lag_seconds": of_index(&|_, index, _| json!(index.sync_lag.map(|lag| lag.as_secs_f64()))),
        })
    }
}

/// What came in, less what waits longer, has gone through.
fn rates(before: &Point, now: &Point, is_direct: bool) -> Rates {
    let seconds = now.seen.duration_since(before.seen).as_secs_f64().max(0.001);
    let written = before.last_event.zip(now.last_event).map(|(before, now)| now - before);
    // A million stands for more, which may be any number.
    let known = |lag: Option<u64>| lag.filter(|lag| *lag < MANY).and_then(|lag| i64::try_from(lag).ok());
    let waits = known(before.outbox_lag).zip(known(now.outbox_lag)).map(|(before, now)| now - before);
    let per_second = |count: i64| count.max(0) as f64 / seconds;
    let events = written.zip(waits).map(|(written, waits)| per_second(written - waits));
    let indexed = |(name, index): (&String, &IndexPoint)| {
        let before = before.indexes.get(name).and_then(|before| before.committed.as_ref());
        let gone_on = |(before, now): (&BTreeMap<i32, i64>, &BTreeMap<i32, i64>)| {
            let by = |(number, now): (&i32, &i64)| Some((now - before.get(number)?).max(0));
            per_second(now.iter().filter_map(by).sum())
        };
        let through_bus = before.zip(index.committed.as_ref()).map(gone_on);
        // Without a bus between them, what is published is indexed; of several indexes nobody knows which.
        (name.clone(), if is_direct { events.filter(|_| now.indexes.len() == 1) } else { through_bus })
    };
    Rates { events, indexed: now.indexes.iter().map(indexed).collect() }
}

/// Searches the database answered, over the last minute.
#[derive(Debug, Default)]
pub(super) struct Fallbacks(VecDeque<(Instant, BTreeMap<String, u64>)>);

impl Fallbacks {
    /// How many there were in the last minute, by index, when there have been so many in all.
    pub(super) fn in_last_minute(&mut self, now: Instant, counts: BTreeMap<&str, u64>) -> BTreeMap<String, u64> {
        const MINUTE: Duration = Duration::from_secs(60);
        let counts: BTreeMap<_, _> = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        // The last one before the minute began says how many there were then.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= MINUTE) {
            self.0.pop_front();
        }
        self.0.push_back((now, counts.clone()));
        let before = |name: &str| self.0.front().and_then(|(_, counts)| counts.get(name)).copied().unwrap_or_default();
        counts.into_iter().map(|(name, count)| (name.clone(), count.saturating_sub(before(&name)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(seconds: u64, began: Instant, last_event: i64, lag: u64, committed: i64) -> Point {
        let index = IndexPoint { committed: Some([(0, committed)].into()), ..IndexPoint::default() };
        Point {
            at: Timestamp::UNIX_EPOCH,
            seen: began + Duration::from_secs(seconds),
            last_event: Some(last_event),
            outbox_lag: Some(lag),
            indexes: [("jobs".to_owned(), index)].into(),
            rates: Rates::default(),
        }
    }

    #[test]
    fn what_was_published_is_what_was_written_less_what_waits_longer() {
        let began = Instant::now();
        let (before, now) = (point(0, began, 100, 10, 50), point(5, began, 200, 60, 75));
        let through_kafka = rates(&before, &now, false);
        assert_eq!((through_kafka.events, through_kafka.indexed["jobs"]), (Some(10.0), Some(5.0)));
        assert_eq!(rates(&before, &now, true).indexed["jobs"], Some(10.0), "what is published is indexed");
        for lag in [None, Some(1_000_000)] {
            let unknown = Point { outbox_lag: lag, ..before.clone() };
            assert_eq!(rates(&unknown, &now, false).events, None);
        }
        let first = Point {
            indexes: [("jobs".to_owned(), IndexPoint { committed: Some([].into()), ..IndexPoint::default() })].into(),
            ..before
        };
        assert_eq!(
            rates(&first, &now, false).indexed["jobs"],
            Some(0.0),
            "a partition's first commit is no progress of one look"
        );
    }

    #[test]
    fn searches_that_fell_back_are_counted_over_a_minute() {
        let (began, mut fallbacks) = (Instant::now(), Fallbacks::default());
        let mut at = |seconds, count| {
            fallbacks.in_last_minute(began + Duration::from_secs(seconds), [("jobs", count)].into())["jobs"]
        };
        assert_eq!((at(0, 7), at(30, 12), at(60, 20)), (0, 5, 13));
        assert_eq!(at(90, 20), 8, "those of the first half minute are past");
        assert_eq!(at(300, 20), 0);
    }
}
