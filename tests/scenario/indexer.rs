//! The indexer between a bus, a database and an index in memory, with scripted faults.

use std::sync::Arc;
use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::adapter::memory::{MemoryBus, MemoryDatabase, MemorySink};
use sync_core::indexer::{Indexer, IndexerConfig};
use sync_core::port::{Projection, Publisher, Sink, Subscriber};
use sync_core::testkit::faults::{Fault, Faulty, Hold, Script};
use sync_core::{Action, Event};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "jobs";
const BOUND: Duration = Duration::from_secs(3600);

struct Bench {
    database: MemoryDatabase,
    bus: MemoryBus,
    index: MemorySink,
    reading: Script,
    writing: Script,
}

impl Bench {
    fn new(partitions: i32) -> Self {
        Self {
            database: MemoryDatabase::default(),
            bus: MemoryBus::new(partitions),
            index: MemorySink::new(),
            reading: Script::default(),
            writing: Script::default(),
        }
    }

    fn indexer(&self) -> Indexer {
        Indexer::new(
            Arc::new(self.bus.subscriber("search", TOPIC)),
            Arc::new(Faulty::new(self.database.clone(), self.reading.clone())),
            Arc::new(Faulty::new(self.index.clone(), self.writing.clone())),
            IndexerConfig { batch_messages: 10, ..IndexerConfig::default() },
        )
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
        self.bus.publish(vec![event.into_message(0)]).await.unwrap().await.unwrap();
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
async fn what_cannot_be_applied_stops_its_partition_until_it_is_mended_and_no_other() {
    let bench = Bench::new(2);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let key = format!("k{number}");
        match sync_core::adapter::partition_for(key.as_bytes(), 2) {
            0 => left.push(key),
            _ => right.push(key),
        }
    }
    // A message about nothing, at the head of partition 0.
    bench.bus.write(TOPIC, 0, None, None, Vec::new());
    for key in left.iter().chain(&right) {
        bench.put(key, "{}").await;
    }
    let indexer = bench.indexer();
    let checks = async {
        while bench.behind().await > left.len() as u64 + 1 || indexer.progress().partitions_stopped().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        let stopped = indexer.progress().partitions_stopped();
        let (partition, why) = stopped.first_key_value().unwrap();
        assert_eq!((stopped.len(), partition.number, why.kind), (1, 0, ErrorKind::Refused));
        assert!(why.error.contains("jobs/0 offset 0 has no key"), "{}", why.error);
        assert_eq!(bench.behind().await, left.len() as u64 + 1, "nothing of it was passed over");
    };
    bench.beside(&indexer, checks).await;
    let stored = bench.index.fetch(&right).await.unwrap();
    assert!(stored.iter().all(Option::is_some), "the other partition went on");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_partition_goes_on_by_itself_once_the_cause_is_mended() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    bench.reading.then([Fault::Refuse(ErrorKind::Contract), Fault::Refuse(ErrorKind::Contract)]);
    let indexer = bench.indexer();
    bench.beside(&indexer, bench.until_done()).await;
    bench.assert_equal().await;
    assert!(indexer.progress().partitions_stopped().is_empty());
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
    let too_long = "k".repeat(600);
    bench.put("a", "{}").await;
    bench.put(&too_long, "{}").await;
    let indexer = bench.indexer();
    let checks = async {
        while indexer.progress().partitions_stopped().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    bench.beside(&indexer, checks).await;
    assert!(bench.database.synced("a") > 0, "its document is in the index");
    assert_eq!(bench.database.synced(&too_long), 0);
    assert_eq!(bench.behind().await, 2, "and nothing is passed over");
}

#[tokio::test(start_paused = true)]
async fn one_key_the_projection_cannot_read_fails_no_other_key() {
    let bench = Bench::new(1);
    for number in 0..8 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    // All eight, the first four of them, the first two, the first: that one is at fault.
    let faults = [ErrorKind::Contract; 4].map(Fault::Refuse);
    bench.reading.then(faults);
    let indexer = bench.indexer();
    let checks = async {
        while indexer.progress().partitions_stopped().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.index.count().await.unwrap(), 7);
        assert_eq!(bench.behind().await, 8, "and nothing is passed over");
        bench.until_done().await;
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
}
