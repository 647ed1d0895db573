//! The relay between a database and a bus in memory, with scripted faults.

mod exactly_once;
mod oversized;
mod withheld;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::adapter::memory::{ManualClock, MemoryBus, MemoryDatabase, MemoryDeadLetters, MemorySource};
use sync_core::port::{DeadLetters, Feed, KeptLetter, LetterSelection, Polled, Source, SourceLag, Subscriber};
use sync_core::relay::{Relay, RelayBuilder};
use sync_core::testkit::faults::{Fault, Faulty, Hold, Script};
use sync_core::{Error, ErrorKind, Remedy};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "jobs";
const BOUND: Duration = Duration::from_secs(60);

struct Bench {
    database: MemoryDatabase,
    bus: MemoryBus,
    script: Script,
}

impl Bench {
    fn new() -> Self {
        Self { database: MemoryDatabase::default(), bus: MemoryBus::new(3), script: Script::default() }
    }

    fn source(&self, holder: &str) -> MemorySource {
        MemorySource::new(self.database.clone()).holder(holder).batch_events(3)
    }

    fn relay(&self, holder: &str) -> Relay {
        self.relay_of(holder).build()
    }

    fn relay_of(&self, holder: &str) -> RelayBuilder {
        let publisher = Arc::new(Faulty::new(self.bus.clone(), self.script.clone()));
        Relay::builder("search", Arc::new(self.source(holder)), publisher)
    }

    fn commit(&self, keys: &[&str]) {
        let mut transaction = self.database.begin(TOPIC);
        for key in keys {
            transaction.put(key, "{}");
        }
        transaction.commit();
    }

    async fn until_passed(&self) {
        let source = self.source("watching");
        while source.lag().await.is_ok_and(|lag| lag.events > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Event ids per key as they lie on the bus.
    async fn on_the_bus(&self) -> BTreeMap<String, Vec<i64>> {
        let subscriber = self.bus.subscriber(&uuid::Uuid::new_v4().to_string(), TOPIC);
        let behind: u64 = subscriber.lag().await.unwrap().iter().map(|partition| partition.behind).sum();
        let mut consumer = subscriber.subscribe().await.unwrap();
        let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut read = 0;
        while read < behind {
            if let Polled::Messages(messages) = consumer.poll().await.unwrap() {
                read += messages.len() as u64;
                for message in messages {
                    let key = String::from_utf8(message.key.unwrap().to_vec()).unwrap();
                    let id = message.headers.iter().find(|(name, _)| name == "id").unwrap().1.clone();
                    ids.entry(key).or_default().push(String::from_utf8(id.to_vec()).unwrap().parse().unwrap());
                }
            }
        }
        consumer.close().await.unwrap();
        ids
    }
}

/// First occurrences only: repeats are what "at least once" allows.
fn first_occurrences(ids: &[i64]) -> Vec<i64> {
    let mut seen = HashSet::new();
    ids.iter().copied().filter(|id| seen.insert(*id)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_repeats_events_and_skips_none() {
    let bench = Bench::new();
    for round in 0..10 {
        bench.commit(&["a", "b", &format!("c{round}")]);
    }
    bench.script.then([Fault::Pass, Fault::LoseAnswer, Fault::Pass, Fault::LoseAnswer, Fault::LoseAnswer]);
    let (relay, shutdown) = (bench.relay("one"), CancellationToken::new());
    let running = relay.run(shutdown.clone());
    let until = async {
        while !bench.script.is_used_up() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(running, until) }).await.unwrap();
    outcome.unwrap();
    let ids = bench.on_the_bus().await;
    assert!(ids["a"].len() > 10, "something was repeated, or the script did nothing: {ids:?}");
    for key in ["a", "b"] {
        let first = first_occurrences(&ids[key]);
        assert_eq!(first.len(), 10, "of {key}");
        assert!(first.is_sorted(), "in order of commit: {first:?}");
    }
    assert_eq!(ids.len(), 12, "every key is there");
}

#[tokio::test(start_paused = true)]
async fn the_position_moves_only_when_the_bus_has_the_events() {
    let bench = Bench::new();
    let hold = Hold::default();
    bench.script.then([Fault::Hold(hold.clone())]);
    bench.commit(&["a", "b"]);
    let (relay, shutdown) = (bench.relay("one"), CancellationToken::new());
    let running = relay.run(shutdown.clone());
    let checks = async {
        hold.reached().await;
        assert_eq!(bench.source("watching").lag().await.unwrap().events, 2, "not acknowledged, so not passed");
        hold.release();
        bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(running, checks) }).await.unwrap();
    outcome.unwrap();
    assert_eq!(relay.progress().counts().published, 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_bus_costs_delay_and_nothing_else() {
    let bench = Bench::new();
    bench.commit(&["a", "b"]);
    bench.script.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Unavailable), 30));
    let (relay, shutdown) = (bench.relay("one"), CancellationToken::new());
    let running = relay.run(shutdown.clone());
    let until = async {
        while !bench.script.is_used_up() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(Duration::from_secs(600), async { tokio::join!(running, until) }).await.unwrap();
    outcome.unwrap();
    assert_eq!(bench.on_the_bus().await.values().map(Vec::len).sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_to_mend_ends_the_relay_before_the_event_at_fault() {
    let bench = Bench::new();
    bench.commit(&["a"]);
    bench.script.then([Fault::Refuse(ErrorKind::Configuration)]);
    let error = bench.relay("one").run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Halt);
    assert_eq!(bench.source("watching").lag().await.unwrap().events, 1, "nothing was passed over");
}

/// Takes the lease, and is long in saying so.
#[derive(Debug)]
struct SlowToOpen(MemorySource);

#[async_trait]
impl Source for SlowToOpen {
    async fn open(&self) -> Result<Feed, Error> {
        let feed = self.0.open().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        feed
    }

    async fn lag(&self) -> Result<SourceLag, Error> {
        self.0.lag().await
    }

    async fn maintain(&self) -> Result<(), Error> {
        self.0.maintain().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_stopped_while_it_takes_the_lease_gives_it_back() {
    let bench = Bench::new();
    let publisher = Arc::new(bench.bus.clone());
    let relay = Relay::builder("search", Arc::new(SlowToOpen(bench.source("one"))), publisher).build();
    let shutdown = CancellationToken::new();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        shutdown.cancel();
    };
    let (outcome, ()) = tokio::join!(relay.run(shutdown.clone()), stop);
    outcome.unwrap();
    bench.source("two").open().await.expect("the lease is free at once");
}

#[tokio::test(start_paused = true)]
async fn a_clean_shutdown_waits_for_acknowledgements_and_gives_the_lease_back() {
    let bench = Bench::new();
    let hold = Hold::default();
    bench.script.then([Fault::Hold(hold.clone())]);
    bench.commit(&["a", "b"]);
    let (relay, shutdown) = (bench.relay("one"), CancellationToken::new());
    let running = relay.run(shutdown.clone());
    let stop = async {
        hold.reached().await;
        shutdown.cancel();
        tokio::time::sleep(Duration::from_millis(1)).await;
        hold.release();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(running, stop) }).await.unwrap();
    outcome.unwrap();
    assert_eq!(bench.source("watching").lag().await.unwrap().events, 0, "what was in flight is recorded");
    bench.source("two").open().await.expect("the lease is free at once");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_stands_by_takes_over_when_the_first_one_dies() {
    let bench = Bench::new();
    let first = bench.relay("one");
    let second = bench.relay("two");
    let shutdown = CancellationToken::new();
    bench.commit(&["a"]);
    let died = timeout(Duration::from_secs(5), first.run(CancellationToken::new())).await;
    assert!(died.is_err(), "it ran until it was dropped, without giving its lease back");
    bench.commit(&["b"]);
    let until = async {
        bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(second.run(shutdown.clone()), until) }).await.unwrap();
    outcome.unwrap();
    assert_eq!(second.progress().counts().published, 1);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_dies_at_any_moment_loses_nothing_and_keeps_the_order() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let bench = Bench::new();
        let mut committed = 0;
        for life in 0..20 {
            for _ in 0..random.random_range(0..4) {
                bench.commit(&["a", "b", "a"]);
                committed += 1;
            }
            let relay = bench.relay(&format!("life {life}"));
            let polls = random.random_range(1..40);
            die_after(polls, relay.run(CancellationToken::new())).await;
            tokio::time::advance(Duration::from_secs(11)).await;
        }
        let (relay, shutdown) = (bench.relay("last"), CancellationToken::new());
        let until = async {
            bench.until_passed().await;
            shutdown.cancel();
        };
        let (outcome, ()) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), until) }).await.unwrap();
        outcome.unwrap();
        let ids = bench.on_the_bus().await;
        for (key, times) in [("a", 2), ("b", 1)] {
            let first = first_occurrences(ids.get(key).map_or(&[], Vec::as_slice));
            assert_eq!(first.len(), committed * times, "seed {seed}: every event of {key}");
            assert!(first.is_sorted(), "seed {seed}: {first:?}");
        }
    }
}

/// Polls a future that many times, then drops it wherever it stands.
async fn die_after(polls: usize, future: impl Future) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if futures::poll!(&mut future).is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_the_bus_will_never_take_is_parked_and_the_others_keep_their_order() {
    let bench = Bench::new();
    for _ in 0..10 {
        bench.commit(&["a", "b", "c"]);
    }
    // The second batch is refused; published one by one, its second event is the one.
    let refused = || Fault::Refuse(ErrorKind::Refused);
    bench.script.then([Fault::Pass, refused(), Fault::Pass, Fault::Pass, Fault::Pass, Fault::Pass, refused()]);
    let letters = MemoryDeadLetters::new();
    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    let relay = bench.relay_of("one").dead_letters(Arc::new(letters.clone()), clock).build();
    let shutdown = CancellationToken::new();
    let until = async {
        bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), until) }).await.unwrap();
    outcome.unwrap();
    assert!(bench.script.is_used_up());
    let kept = letters.list(&LetterSelection::default(), 0, 10).await.unwrap();
    let [KeptLetter { letter, .. }] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((letter.reader.as_str(), letter.origin.partition, letter.attempts), ("search", -1, 1));
    assert_eq!(letter.event, Some(letter.origin.offset));
    let on_the_bus = bench.on_the_bus().await;
    for key in ["a", "b", "c"] {
        let first = first_occurrences(&on_the_bus[key]);
        let parked = usize::from(letter.key.as_deref() == Some(key));
        assert_eq!(first.len(), 10 - parked, "of {key}");
        assert!(first.is_sorted(), "in order of commit: {first:?}");
        assert!(!first.contains(&letter.origin.offset), "the parked one is not published");
    }
    let published = on_the_bus.values().map(|ids| ids.len() as u64).sum::<u64>();
    let counts = relay.progress().counts();
    assert_eq!(counts.parked, 1);
    assert!((29..=published).contains(&counts.published), "{counts:?} of {published}");
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_a_relay_ends_at_an_event_the_bus_will_never_take() {
    let bench = Bench::new();
    bench.commit(&["a"]);
    bench.script.then([Fault::Refuse(ErrorKind::Refused)]);
    let error = timeout(BOUND, bench.relay("one").run(CancellationToken::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(bench.source("watching").lag().await.unwrap().events, 1, "nothing is passed over");
}
