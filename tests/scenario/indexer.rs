//! The indexer between a bus, a database and an index in memory, with scripted faults.

mod full;
mod histories;
mod mended;
mod over;
mod reassigned;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::memory::{ManualClock, MemoryBus, MemoryDatabase, MemoryDeadLetters, MemorySink};
use sync_core::indexer::{Indexer, IndexerConfig, Parking};
use sync_core::port::{
    Current, DeadLetters, History, KeptLetter, LetterSelection, Projection, Publisher, Sink, Subscriber,
};
use sync_core::testkit::faults::{Fault, Faulty, Hold, Script};
use sync_core::{Action, Encoding, Error, ErrorKind, Event};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "jobs";
const BOUND: Duration = Duration::from_secs(3600);

struct Bench {
    database: MemoryDatabase,
    bus: MemoryBus,
    index: MemorySink,
    letters: MemoryDeadLetters,
    reading: Script,
    writing: Script,
}

impl Bench {
    fn new(partitions: i32) -> Self {
        Self {
            database: MemoryDatabase::default(),
            bus: MemoryBus::new(partitions),
            index: MemorySink::new(),
            letters: MemoryDeadLetters::new(),
            reading: Script::default(),
            writing: Script::default(),
        }
    }

    fn indexer(&self) -> Indexer {
        self.indexer_of(TOPIC, self.parking())
    }

    fn parking(&self) -> Parking {
        let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        let parking = Parking::new("jobs", TOPIC, Arc::new(self.letters.clone()), clock);
        parking.with_bus(Arc::new(self.bus.clone()), true)
    }

    fn indexer_of(&self, topic: &str, parking: Parking) -> Indexer {
        self.indexer_with(topic, parking, IndexerConfig::default().batch_messages(10))
    }

    fn indexer_with(&self, topic: &str, parking: Parking, config: IndexerConfig) -> Indexer {
        Indexer::builder(
            Arc::new(self.bus.subscriber("search", topic)),
            Arc::new(Faulty::new(self.database.clone(), self.reading.clone())),
            Arc::new(Faulty::new(self.index.clone(), self.writing.clone())),
            parking,
        )
        .config(config)
        .build()
    }

    /// Keys in dead letters, with the kind of error and how often they were tried.
    async fn parked(&self) -> Vec<(Option<String>, String, u32)> {
        let letters = self.letters.list(&LetterSelection::default(), 0, 1_000).await.unwrap();
        let letters =
            letters.into_iter().map(|KeptLetter { letter, .. }| (letter.key, letter.error_kind, letter.attempts));
        letters.collect()
    }

    /// Changes rows and puts their messages on the bus.
    async fn put(&self, key: &str, document: &str) {
        let mut transaction = self.database.begin(TOPIC);
        transaction.put(key, document);
        transaction.commit();
        self.say(key).await;
    }

    async fn delete(&self, key: &str) {
        let mut transaction = self.database.begin(TOPIC);
        transaction.delete(key);
        transaction.commit();
        self.say(key).await;
    }

    async fn say(&self, key: &str) {
        let event = Event {
            id: 1,
            topic: TOPIC.to_owned(),
            key: key.to_owned(),
            version: 1,
            action: Action::Index,
            payload: None,
            headers: Vec::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        self.bus.publish(vec![event.into_message(0, &Encoding::Standard)]).await.unwrap().await.unwrap();
    }

    async fn behind(&self) -> u64 {
        let lag = self.bus.subscriber("search", TOPIC).lag().await.unwrap();
        lag.iter().map(|partition| partition.behind).sum()
    }

    async fn until_done(&self) {
        while self.behind().await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs an indexer beside `checks`, then stops it.
    async fn beside(&self, indexer: &Indexer, checks: impl Future<Output = ()>) {
        let shutdown = CancellationToken::new();
        let checks = async {
            checks.await;
            shutdown.cancel();
        };
        let (outcome, ()) =
            timeout(BOUND, async { tokio::join!(indexer.run(shutdown.clone()), checks) }).await.unwrap();
        outcome.unwrap();
    }

    /// The index holds what the database holds, key by key and version by version.
    async fn assert_equal(&self) {
        let rows = self.database.scan(None, usize::MAX).await.unwrap();
        let keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
        let stored = self.index.fetch(&keys).await.unwrap();
        for (row, stored) in rows.iter().zip(stored) {
            let stored = stored.unwrap_or_else(|| panic!("{} is missing", row.key));
            assert_eq!((stored.version, Some(&stored.document)), (row.version, row.document.as_ref()), "{}", row.key);
        }
        assert_eq!(self.index.count().await.unwrap(), rows.len() as u64, "and nothing else");
    }
}

#[tokio::test(start_paused = true)]
async fn insert_update_delete_and_reinsert_leave_the_index_equal() {
    let bench = Bench::new(3);
    for number in 0..50 {
        bench.put(&format!("k{number}"), "{\"v\":1}").await;
        bench.put(&format!("k{}", number / 2), "{\"v\":2}").await;
    }
    bench.delete("k3").await;
    bench.delete("k4").await;
    bench.put("k4", "{\"v\":3}").await;
    let indexer = bench.indexer();
    bench.beside(&indexer, bench.until_done()).await;
    bench.assert_equal().await;
    assert_eq!(indexer.progress().counts().messages, 103);
    assert!(bench.database.synced("k4") > 0, "the source is told");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_a_transaction_holds_is_noted_once_it_is_free_and_its_neighbours_at_once() {
    let bench = Bench::new(1);
    bench.database.hold("a");
    for key in ["a", "b"] {
        bench.put(key, "{}").await;
    }
    let checks = async {
        while bench.database.synced("b") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((bench.database.synced("a"), bench.index.count().await.unwrap()), (0, 2));
        assert!(bench.behind().await > 0, "a crash now must not lose the note");
        bench.database.release();
        bench.until_done().await;
        assert_eq!(bench.database.synced("a"), 1);
    };
    bench.beside(&bench.indexer(), checks).await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_copy_cannot_be_published_is_parked_once() {
    let bench = Bench::new(1);
    let publishing = Script::default();
    publishing.then([
        Fault::Refuse(ErrorKind::Unavailable),
        Fault::LoseAnswer,
        Fault::Refuse(ErrorKind::Configuration),
    ]);
    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    let parking = Parking::new("jobs", TOPIC, Arc::new(bench.letters.clone()), clock);
    let parking = parking.with_bus(Arc::new(Faulty::new(bench.bus.clone(), publishing.clone())), true);
    bench.bus.write(TOPIC, 0, None, None, Vec::new());
    bench.beside(&bench.indexer_of(TOPIC, parking), bench.until_done()).await;
    assert!(publishing.is_used_up());
    assert!(bench.letters.get(1).await.unwrap().is_some(), "the same letter as at first");
}

#[tokio::test(start_paused = true)]
async fn headers_an_application_copied_from_a_retry_hold_up_nothing_and_hide_nothing() {
    let bench = Bench::new(1);
    let copied = [("retry-reader", "people"), ("retry-due", "99999999999999"), ("retry-attempts", "3")];
    let mut transaction = bench.database.begin(TOPIC);
    transaction.put("a", "{}");
    transaction.commit();
    let headers = copied.map(|(name, value)| (name.to_owned(), value.into()));
    bench.bus.write(TOPIC, 0, Some("a".into()), None, headers.into());
    bench.writing.then([Fault::Fail(ErrorKind::Unexplained)]);
    let began = tokio::time::Instant::now();
    with_retries(&bench, bench.until_done()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    bench.assert_equal().await;
}

/// A database that answers no question about many keys in time.
#[derive(Debug)]
struct Slow(MemoryDatabase);

#[async_trait]
impl Projection for Slow {
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error> {
        self.0.agree(recorded).await
    }

    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error> {
        if keys.len() > 20 {
            return Err(Error::new(ErrorKind::Unavailable, "canceling statement due to statement timeout"));
        }
        self.0.load(keys).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        self.0.scan(after, limit).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        self.0.keys(after, limit).await
    }

    async fn estimate(&self) -> Result<u64, Error> {
        self.0.estimate().await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.0.count().await
    }

    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        self.0.mark_synced(keys).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_takes_too_long_is_asked_for_in_smaller_ones() {
    let bench = Bench::new(1);
    for number in 0..500 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    let indexer = Indexer::builder(
        Arc::new(bench.bus.subscriber("search", TOPIC)),
        Arc::new(Slow(bench.database.clone())),
        Arc::new(bench.index.clone()),
        bench.parking(),
    )
    .build();
    bench.beside(&indexer, bench.until_done()).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_stays_held_delays_its_offset_for_seconds_and_nothing_behind_it() {
    let bench = Bench::new(1);
    bench.database.hold("a");
    bench.put("a", "{}").await;
    let began = tokio::time::Instant::now();
    let checks = async {
        while bench.index.count().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for number in 0..10 {
            bench.put(&format!("k{number}"), "{}").await;
        }
        while bench.index.count().await.unwrap() < 11 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        bench.until_done().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(bench.database.synced("a"), 0);
    };
    bench.beside(&bench.indexer(), checks).await;
}

#[tokio::test(start_paused = true)]
async fn repeated_and_reversed_messages_leave_the_newest() {
    let bench = Bench::new(1);
    bench.put("a", "{\"v\":1}").await;
    bench.put("a", "{\"v\":2}").await;
    bench.delete("b").await;
    bench.put("b", "{\"v\":3}").await;
    bench.beside(&bench.indexer(), bench.until_done()).await;
    for key in ["b", "a", "b", "a", "a"] {
        bench.say(key).await;
    }
    let again = bench.indexer();
    bench.beside(&again, bench.until_done()).await;
    bench.assert_equal().await;
    assert_eq!((again.progress().counts().applied, again.progress().counts().stale), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_index_or_database_costs_delay_and_nothing_else() {
    let bench = Bench::new(2);
    for number in 0..30 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    bench.writing.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Unavailable), 40));
    bench.reading.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Unavailable), 40));
    let indexer = bench.indexer();
    bench.beside(&indexer, bench.until_done()).await;
    assert!(bench.writing.is_used_up() && bench.reading.is_used_up());
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_the_index_is_asked_again_and_found_stale() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    bench.writing.then([Fault::LoseAnswer]);
    let indexer = bench.indexer();
    bench.beside(&indexer, bench.until_done()).await;
    bench.assert_equal().await;
    assert_eq!((indexer.progress().counts().applied, indexer.progress().counts().stale), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_too_large_is_sent_in_smaller_parts() {
    let bench = Bench::new(1);
    for number in 0..8 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    bench.writing.then([Fault::Refuse(ErrorKind::TooLarge), Fault::Refuse(ErrorKind::TooLarge)]);
    let indexer = bench.indexer();
    bench.beside(&indexer, bench.until_done()).await;
    bench.assert_equal().await;
    assert!(indexer.progress().partitions_stopped().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_offset_is_committed_only_when_its_documents_are_in_the_index() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    let hold = Hold::default();
    bench.writing.then([Fault::Hold(hold.clone())]);
    let checks = async {
        hold.reached().await;
        assert_eq!(bench.behind().await, 1, "the write has not happened yet");
        hold.release();
        bench.until_done().await;
    };
    bench.beside(&bench.indexer(), checks).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_while_the_index_is_busy_grows_into_one_request() {
    let bench = Bench::new(1);
    bench.put("first", "{}").await;
    let hold = Hold::default();
    let one_more = [Fault::Hold(hold.clone()), Fault::Pass, Fault::Hold(Hold::default())];
    bench.writing.then(one_more);
    let checks = async {
        hold.reached().await;
        for number in 0..5 {
            bench.put(&format!("k{number}"), "{}").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        hold.release();
        bench.until_done().await;
    };
    let config = IndexerConfig::default().in_flight(1);
    bench.beside(&bench.indexer_with(TOPIC, bench.parking(), config), checks).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_about_nothing_is_parked_and_holds_up_nothing() {
    let bench = Bench::new(2);
    bench.bus.write(TOPIC, 0, None, Some("what is this".into()), Vec::new());
    for number in 0..20 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    let indexer = bench.indexer();
    bench.beside(&indexer, bench.until_done()).await;
    bench.assert_equal().await;
    assert_eq!(bench.parked().await, [(None, "refused".to_owned(), 1)]);
    let letter = bench.letters.get(1).await.unwrap().expect("the first letter").letter;
    assert_eq!((letter.reader.as_str(), letter.origin.partition, letter.origin.offset), ("jobs", 0, 0));
    assert!(letter.error.contains("jobs/0 offset 0 has no key"), "{}", letter.error);
    assert_eq!(letter.value.as_deref(), Some("what is this"));
    assert_eq!(indexer.progress().counts().parked, 1);
    assert!(indexer.progress().partitions_stopped().is_empty());
    assert_eq!(bench.bus.messages("jobs-dlt").len(), 1, "and it is copied to the dead-letter topic");
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_to_mend_stops_the_partition_and_parks_nothing() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    bench.reading.then([ErrorKind::Denied, ErrorKind::Configuration].map(Fault::Refuse));
    let indexer = bench.indexer();
    let checks = async {
        while indexer.progress().partitions_stopped().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.behind().await, 1, "nothing is passed over");
        bench.until_done().await;
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
    assert!(indexer.progress().partitions_stopped().is_empty());
    assert_eq!(bench.parked().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_waits_for_a_person_holds_up_no_end() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    bench.reading.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Configuration), 100));
    let indexer = bench.indexer();
    let stopped = async {
        while indexer.progress().partitions_stopped().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::Instant::now()
    };
    let shutdown = CancellationToken::new();
    let (outcome, began) = tokio::join!(indexer.run(shutdown.clone()), async {
        let began = stopped.await;
        shutdown.cancel();
        began
    });
    outcome.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(bench.behind().await, 1, "its message comes again");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_as_a_whole_stops_instead_of_emptying_into_the_dead_letters() {
    let bench = Bench::new(1);
    for number in 0..10 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    // Twice each of the ten is refused when it is alone: ten, five, two, one, one, two, one, one, ...
    bench.reading.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Contract), 2 * 19));
    let indexer = bench.indexer();
    let checks = async {
        while indexer.progress().partitions_stopped().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (_, why) = indexer.progress().partitions_stopped().pop_first().unwrap();
        assert!(why.error.contains("all 10 keys of a batch failed"), "{}", why.error);
        bench.until_done().await;
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
    assert!(bench.reading.is_used_up());
    assert_eq!(bench.parked().await, []);
}

#[tokio::test(start_paused = true)]
async fn partitions_that_move_to_another_member_are_finished_there() {
    let bench = Bench::new(4);
    for number in 0..100 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    let hold = Hold::default();
    bench.writing.then(std::iter::repeat_n(Fault::Hold(hold.clone()), 4));
    let (first, second) = (bench.indexer(), bench.indexer());
    let shutdown = CancellationToken::new();
    let checks = async {
        hold.reached().await;
        let joined = CancellationToken::new();
        let finish = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for _ in 0..4 {
                hold.release();
            }
            bench.until_done().await;
            shutdown.cancel();
            joined.cancel();
        };
        let (outcome, ()) = tokio::join!(second.run(joined.clone()), finish);
        outcome.unwrap();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(first.run(shutdown.clone()), checks) }).await.unwrap();
    outcome.unwrap();
    bench.assert_equal().await;
    assert!(second.progress().counts().messages > 0, "the second one had its share");
}

#[tokio::test(start_paused = true)]
async fn an_indexer_that_dies_at_any_moment_loses_nothing() {
    for polls in 1..60 {
        let bench = Bench::new(2);
        for number in 0..25 {
            bench.put(&format!("k{}", number % 20), "{}").await;
        }
        for _ in 0..5 {
            let indexer = bench.indexer();
            let running = indexer.run(CancellationToken::new());
            let mut running = std::pin::pin!(running);
            for _ in 0..polls {
                assert!(futures::poll!(&mut running).is_pending());
                tokio::task::yield_now().await;
            }
        }
        bench.beside(&bench.indexer(), bench.until_done()).await;
        bench.assert_equal().await;
    }
}

#[tokio::test(start_paused = true)]
async fn documents_that_made_it_are_noted_beside_one_that_did_not() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    bench.put("no-document", "{").await;
    bench.beside(&bench.indexer(), bench.until_done()).await;
    assert!(bench.database.synced("a") > 0, "its document is in the index");
    assert_eq!(bench.database.synced("no-document"), 0);
    assert_eq!(bench.parked().await, [(Some("no-document".to_owned()), "refused".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn one_key_the_projection_cannot_read_is_parked_and_fails_no_other_key() {
    let bench = Bench::new(1);
    for number in 0..8 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    // All eight, the first four of them, the first two, the first: that one is at fault.
    bench.reading.then([ErrorKind::Contract; 4].map(Fault::Refuse));
    bench.beside(&bench.indexer(), bench.until_done()).await;
    assert_eq!(bench.index.count().await.unwrap(), 7);
    let parked = bench.parked().await;
    assert_eq!((parked.len(), parked[0].1.as_str()), (1, "contract"));
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_stored_is_not_lost() {
    let bench = Bench::new(1);
    bench.put(&"k".repeat(600), "{}").await;
    let letters = Script::default();
    letters.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Unavailable), 20));
    letters.then([Fault::LoseAnswer]);
    let faulty = Arc::new(Faulty::new(bench.letters.clone(), letters.clone()));
    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    let indexer = bench.indexer_of(TOPIC, Parking::new("jobs", TOPIC, faulty, clock));
    let checks = async {
        while !letters.is_used_up() {
            assert_eq!(bench.behind().await, 1, "nothing is passed over");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.until_done().await;
    };
    bench.beside(&indexer, checks).await;
    assert_eq!(bench.parked().await.len(), 1);
}

/// Runs the indexers of the topic and of both retry topics until nothing is left in any of them.
async fn with_retries(bench: &Bench, checks: impl Future<Output = ()>) {
    let topics = [TOPIC, "jobs-retry-1000", "jobs-retry-2000"];
    let indexers = topics.map(|topic| bench.indexer_of(topic, bench.parking()));
    let shutdown = CancellationToken::new();
    let until_done = async {
        checks.await;
        for topic in topics {
            let subscriber = bench.bus.subscriber("search", topic);
            while subscriber.lag().await.unwrap().iter().any(|lag| lag.behind > 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        shutdown.cancel();
    };
    let running = futures::future::try_join_all(indexers.iter().map(|indexer| indexer.run(shutdown.clone())));
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(running, until_done) }).await.unwrap();
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_explain_is_tried_again_after_one_second_and_two_and_delays_nobody() {
    let bench = Bench::new(1);
    bench.put("odd", "{}").await;
    // The second try is the other's.
    let [first, second] = [ErrorKind::Unexplained; 2].map(Fault::Fail);
    bench.writing.then([first, Fault::Pass, second]);
    let began = tokio::time::Instant::now();
    with_retries(&bench, async {
        bench.until_done().await;
        bench.put("even", "{}").await;
        bench.until_done().await;
        assert!(began.elapsed() < Duration::from_millis(900), "it waited for the one that failed");
    })
    .await;
    let delays = Duration::from_millis(3_000)..Duration::from_millis(3_700);
    assert!(delays.contains(&began.elapsed()), "{:?}", began.elapsed());
    bench.assert_equal().await;
    assert_eq!(bench.parked().await, []);
}

#[tokio::test(start_paused = true)]
async fn what_fails_three_times_for_no_known_reason_is_parked_with_its_origin() {
    let bench = Bench::new(1);
    bench.put("odd", "{}").await;
    bench.writing.then([ErrorKind::Unexplained; 3].map(Fault::Fail));
    with_retries(&bench, bench.until_done()).await;
    assert_eq!(bench.parked().await, [(Some("odd".to_owned()), "unexplained".to_owned(), 3)]);
    let letter = bench.letters.list(&LetterSelection::default(), 0, 1).await.unwrap().remove(0).letter;
    assert_eq!((letter.origin.topic.as_str(), letter.origin.partition, letter.origin.offset), (TOPIC, 0, 0));
    let copies = bench.bus.messages("jobs-dlt");
    assert_eq!(copies.len(), 1);
    let header = |name: &str| copies[0].headers.iter().find(|(header, _)| header == name).unwrap().1.clone();
    assert_eq!((header("origin-topic"), header("retry-attempts")), ("jobs".into(), "3".into()));
}

#[tokio::test(start_paused = true)]
async fn an_outage_counts_no_try() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    bench.writing.then([Fault::Fail(ErrorKind::Unexplained)]);
    bench.writing.then(std::iter::repeat_n(Fault::Fail(ErrorKind::Unavailable), 50));
    bench.writing.then(std::iter::repeat_n(Fault::Refuse(ErrorKind::Unavailable), 50));
    bench.writing.then([Fault::Fail(ErrorKind::Unexplained)]);
    with_retries(&bench, bench.until_done()).await;
    assert!(bench.writing.is_used_up());
    bench.assert_equal().await;
    assert_eq!(bench.parked().await, []);
}
