//! The world of one history: database, bus and indexes in memory, and the rooms between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::memory::{
    ManualClock, MemoryBus, MemoryDatabase, MemoryDeadLetters, MemorySink, MemorySource, MemoryTransactor,
};
use sync_core::indexer::{Indexer, IndexerConfig, Parking};
use sync_core::policy::Backoff;
use sync_core::policy::BreakerConfig;
use sync_core::policy::{RetryPolicy, retry_topic};
use sync_core::port::{Mark, Publisher, Sink, Source, Subscriber};
use sync_core::relay::{Relay, RelayConfig};
use sync_core::testkit::oracle::{Delivery, Oracle};
use tokio_util::task::TaskTracker;

use super::broken::{Broken, IdCursor, UnguardedSink};
use super::consumer::StormySubscriber;
use super::projection::StormyProjection;
use super::publisher::{StormyDirect, StormyPublisher, Wire};
use super::sink::StormySink;
use super::source::StormySource;
use super::transactor::StormyTransactor;
use super::weather::{Dice, Weather};

pub const TOPICS: [&str; 2] = ["jobs", "workspaces"];

const PARTITIONS: i32 = 2;
const SUBSCRIPTION: &str = "search";

/// One tick of the clock of a paused runtime, whatever jitter makes of it: histories then differ only by their seed.
const TICK: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));

const RETRIES: RetryPolicy = RetryPolicy::new(3, Duration::from_millis(2), 2);

/// A topic, and those in which what failed waits.
fn with_retries(topic: &str) -> impl Iterator<Item = String> {
    std::iter::once(topic.to_owned()).chain(RETRIES.delays().into_iter().map(move |delay| retry_topic(topic, delay)))
}

#[derive(Debug)]
pub enum Bus {
    Stored(MemoryBus),
    Direct(DirectBus),
}

/// How messages get from the outbox to the indexers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    AtLeastOnce,
    ExactlyOnce,
}

impl Way {
    fn draw(dice: &mut Dice, broken: Broken) -> Self {
        let drawn = dice.roll(8);
        match broken {
            Broken::Nothing => match drawn {
                0 | 1 => Self::Direct,
                2..5 => Self::ExactlyOnce,
                _ => Self::AtLeastOnce,
            },
            Broken::LooseMark | Broken::VisibleAborts | Broken::NobodyShutOut | Broken::StaleMark | Broken::Mirror => {
                Self::ExactlyOnce
            }
            // The same in both.
            Broken::EarlyAcknowledgements if drawn < 4 => Self::ExactlyOnce,
            // What is broken about a bus that stores is not to be seen on one that does not.
            Broken::Guard
            | Broken::EarlyCommits
            | Broken::Fencing
            | Broken::IdCursor
            | Broken::EarlyAcknowledgements
            | Broken::Gaps
            | Broken::Forgetful => Self::AtLeastOnce,
        }
    }
}

#[derive(Debug)]
pub struct World {
    pub database: MemoryDatabase,
    pub bus: Bus,
    /// Where each event is to come once.
    pub transactor: Option<MemoryTransactor>,
    /// By topic.
    pub indexes: BTreeMap<&'static str, Arc<dyn Sink>>,
    pub weather: Weather,
    pub oracle: Arc<Mutex<Oracle>>,
    pub letters: MemoryDeadLetters,
    /// What goes on after its process is gone.
    pub late: TaskTracker,
    broken: Broken,
    ids: Arc<Mutex<IdCursor>>,
    /// All that were stored on the bus.
    pub marks: Arc<Mutex<Vec<Mark>>>,
    sizes: Sizes,
}

/// How much is taken together; small, so that a short history has many batches.
#[derive(Debug)]
struct Sizes {
    batch_events: usize,
    in_flight: usize,
    batch_messages: usize,
}

impl World {
    pub fn new(weather: Weather, dice: &mut Dice, broken: Broken) -> Self {
        let stored = MemoryBus::new(PARTITIONS);
        let (bus, transactor, delivery) = match Way::draw(dice, broken) {
            Way::Direct => {
                let capacity = 1 + dice.roll(8) as usize;
                let topics: Vec<_> = TOPICS.into_iter().flat_map(with_retries).collect();
                let bus = DirectBus::new(topics.iter().map(String::as_str), capacity, PARTITIONS);
                (Bus::Direct(bus), None, Delivery::Unseen)
            }
            Way::AtLeastOnce => (Bus::Stored(stored), None, Delivery::AtLeastOnce),
            Way::ExactlyOnce => {
                let transactor = MemoryTransactor::new(stored.clone());
                (Bus::Stored(stored), Some(transactor), Delivery::ExactlyOnce)
            }
        };
        let index = || -> Arc<dyn Sink> {
            if broken == Broken::Guard { Arc::new(UnguardedSink::default()) } else { Arc::new(MemorySink::new()) }
        };
        let sizes = Sizes {
            batch_events: 1 + dice.roll(4) as usize,
            in_flight: 1 + dice.roll(4) as usize,
            batch_messages: 1 + dice.roll(5) as usize,
        };
        Self {
            database: MemoryDatabase::default(),
            bus,
            transactor,
            indexes: TOPICS.into_iter().map(|topic| (topic, index())).collect(),
            weather,
            oracle: Arc::new(Mutex::new(Oracle::new(delivery))),
            letters: MemoryDeadLetters::new(),
            late: TaskTracker::new(),
            broken,
            ids: Arc::default(),
            marks: Arc::default(),
            sizes,
        }
    }

    pub fn relay(&self, holder: &str) -> Relay {
        let source = StormySource {
            inner: self.source(holder),
            weather: self.weather.place(),
            oracle: Arc::clone(&self.oracle),
            broken: self.broken,
            ids: Arc::clone(&self.ids),
        };
        let config = RelayConfig::default()
            .in_flight(self.sizes.in_flight)
            .backoff(TICK)
            .standby(Duration::from_millis(50))
            .drain(Duration::from_millis(30));
        match (&self.bus, &self.transactor) {
            (Bus::Stored(bus), Some(transactor)) => {
                let transactor = StormyTransactor {
                    bus: bus.clone(),
                    inner: transactor.clone(),
                    weather: self.weather.place(),
                    late: self.late.clone(),
                    broken: self.broken,
                    marks: Arc::clone(&self.marks),
                };
                Relay::exactly_once("search", Arc::new(source), Arc::new(transactor)).config(config).build()
            }
            (Bus::Stored(_) | Bus::Direct(_), _) => {
                Relay::builder("search", Arc::new(source), self.publisher()).config(config).build()
            }
        }
    }

    fn publisher(&self) -> Arc<dyn Publisher> {
        let weather = self.weather.place();
        match &self.bus {
            Bus::Stored(bus) => {
                let (late, broken) = (self.late.clone(), self.broken);
                Arc::new(StormyPublisher::new(Wire { inner: Arc::new(bus.clone()), weather, late, broken }))
            }
            Bus::Direct(bus) => Arc::new(StormyDirect { inner: Arc::new(bus.clone()), weather }),
        }
    }

    /// The indexers of one process: of the topic, and of those in which what failed waits.
    pub fn indexers(&self, topic: &'static str) -> Vec<Indexer> {
        with_retries(topic).map(|read| self.indexer(topic, &read)).collect()
    }

    fn indexer(&self, topic: &'static str, read: &str) -> Indexer {
        let inner = self.subscriber(read);
        let subscriber = StormySubscriber { inner, weather: self.weather.place(), broken: self.broken };
        let projection = StormyProjection { inner: self.database.clone(), weather: self.weather.place() };
        let sink = StormySink {
            topic,
            inner: Arc::clone(&self.indexes[topic]),
            weather: self.weather.place(),
            oracle: Arc::clone(&self.oracle),
            late: self.late.clone(),
        };
        let config = IndexerConfig::default()
            .batch_messages(self.sizes.batch_messages)
            // About three documents, so that requests are split.
            .batch_bytes(40)
            .in_flight(self.sizes.in_flight)
            .breaker(BreakerConfig::default().open_for(Duration::from_millis(5)))
            .backoff(TICK)
            .stopped(TICK)
            .retries(RETRIES)
            .drain(Duration::from_millis(30));
        let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        let parking = Parking::new(topic, topic, Arc::new(self.letters.clone()), clock);
        let parking = parking.with_bus(self.publisher(), false);
        Indexer::builder(Arc::new(subscriber), Arc::new(projection), Arc::new(sink), parking).config(config).build()
    }

    /// Whether every committed event went all the way.
    pub async fn is_settled(&self) -> bool {
        if !self.source("nobody").lag().await.is_ok_and(|lag| lag.events == 0) {
            return false;
        }
        for topic in TOPICS.into_iter().flat_map(with_retries) {
            let lag = self.subscriber(&topic).lag().await.unwrap();
            if lag.iter().any(|partition| partition.behind > 0) {
                return false;
            }
        }
        true
    }

    fn source(&self, holder: &str) -> MemorySource {
        MemorySource::new(self.database.clone())
            .subscription(SUBSCRIPTION)
            .holder(holder)
            .lease(Duration::from_millis(300))
            .batch_events(self.sizes.batch_events)
    }

    fn subscriber(&self, topic: &str) -> Arc<dyn Subscriber> {
        match &self.bus {
            Bus::Stored(bus) => Arc::new(bus.subscriber("search", topic)),
            Bus::Direct(bus) => Arc::new(bus.subscriber(topic).unwrap()),
        }
    }
}
