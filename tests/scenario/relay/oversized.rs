//! Events too large for the bus, beside the position that the bus keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::memory::{ManualClock, MemoryDatabase, MemoryDeadLetters, MemorySource, MemoryTransactor};
use sync_core::port::{
    Claim, DeadLetters, Feed, LedgerSource, LetterSelection, Source, SourceLag, Transactions, Transactor,
};
use sync_core::relay::Relay;
use sync_core::testkit::faults::{Fault, Faulty, Hold};
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{BOUND, Bench, TOPIC};

/// More than a standard message of a short key takes, and less than one of a long key.
const LARGEST: usize = 200;

fn long(key: &str) -> String {
    key.repeat(LARGEST)
}

/// Counts how often somebody began.
#[derive(Clone, Debug)]
struct Counting {
    inner: Faulty<MemoryTransactor>,
    begun: Arc<AtomicUsize>,
}

#[async_trait]
impl Transactor for Counting {
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.inner.begin(name).await
    }
}

/// The relay of a bench, its letters, and how often it began.
fn relay(bench: &Bench, source: Arc<dyn LedgerSource>) -> (Relay, MemoryDeadLetters, Arc<AtomicUsize>) {
    let transactor = MemoryTransactor::new(bench.bus.clone()).with_largest(LARGEST);
    let (letters, begun) = (MemoryDeadLetters::new(), Arc::new(AtomicUsize::new(0)));
    let transactor = Counting { inner: Faulty::new(transactor, bench.script.clone()), begun: Arc::clone(&begun) };
    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    let relay = Relay::exactly_once("search", source, Arc::new(transactor));
    (relay.dead_letters(Arc::new(letters.clone()), clock).build(), letters, begun)
}

/// Runs it until there are so many messages on the bus, and nothing is left to be passed.
async fn run_until(bench: &Bench, relay: &Relay, messages: usize) {
    let shutdown = CancellationToken::new();
    let until = async {
        while bench.bus.messages(TOPIC).len() < messages {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), until) }).await.unwrap();
    outcome.unwrap();
}

/// Keys of the letters, in order, and the places of their events.
async fn parked(letters: &MemoryDeadLetters) -> Vec<(String, i64)> {
    let kept = letters.list(&LetterSelection::default(), 0, 1_000).await.unwrap();
    kept.into_iter().map(|kept| (kept.letter.key.unwrap(), kept.letter.origin.offset)).collect()
}

#[tokio::test(start_paused = true)]
async fn events_too_large_for_the_bus_are_parked_without_ending_the_session_and_nothing_comes_twice() {
    let bench = Bench::new();
    let mut expected = Vec::new();
    for round in 0..100_i64 {
        if round % 7 == 3 {
            bench.commit(&["a", &long("b"), "c"]);
            expected.push((long("b"), round * 3 + 2));
        } else {
            bench.commit(&["a", "b", "c"]);
        }
    }
    // A transaction that holds nothing but what is parked.
    bench.commit(&[&long("d"), &long("e"), &long("f")]);
    expected.extend(["d", "e", "f"].map(long).into_iter().zip(301..));
    let (relay, letters, begun) = relay(&bench, Arc::new(bench.source("one")));
    let published = 300 - 14;
    run_until(&bench, &relay, published).await;
    assert_eq!(parked(&letters).await, expected);
    let ids: Vec<_> = bench.on_the_bus().await.into_values().collect();
    assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), [100, 86, 100]);
    assert!(ids.iter().all(|ids| ids.is_sorted_by(|one, next| one < next)), "once each, in order");
    assert_eq!(begun.load(Ordering::Relaxed), 1, "it went on with what it had begun");
    let counts = relay.progress().counts();
    assert_eq!((counts.published, counts.parked), (published as u64, 17));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_parked_is_not_parked_again_when_its_transaction_fails() {
    let bench = Bench::new();
    bench.commit(&["a", &long("b"), "c"]);
    bench.script.then([Fault::Refuse(ErrorKind::Unavailable), Fault::LoseAnswer]);
    let (relay, letters, begun) = relay(&bench, Arc::new(bench.source("one")));
    run_until(&bench, &relay, 2).await;
    assert_eq!(begun.load(Ordering::Relaxed), 3, "both faults struck");
    assert_eq!((parked(&letters).await, relay.progress().counts().parked), (vec![(long("b"), 2)], 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_parked_is_not_parked_again_when_only_one_before_it_is_passed() {
    let bench = Bench::new();
    let (first, second) = (long("b"), long("d"));
    bench.commit(&["a", "b", "c", &first, "a", "b", "c", "a", "b", "c", "a", &second]);
    // While the first batch is under way the others are read; together they fail, and then come one by one.
    let under_way = Hold::default();
    bench.script.then([Fault::Hold(under_way.clone()), Fault::Refuse(ErrorKind::Unavailable)]);
    let (relay, letters, begun) = relay(&bench, Arc::new(bench.source("one")));
    let let_go = async {
        under_way.reached().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        under_way.release();
    };
    tokio::join!(run_until(&bench, &relay, 10), let_go);
    assert_eq!(begun.load(Ordering::Relaxed), 2, "the fault struck");
    assert_eq!(parked(&letters).await, [(first, 4), (second, 12)]);
    assert_eq!(relay.progress().counts().parked, 2);
}

/// A database, and after the first claim the one that took its place, in which the same ids are other events.
#[derive(Debug)]
struct Promoted {
    before: MemorySource,
    after: MemorySource,
    claims: AtomicUsize,
}

#[async_trait]
impl Source for Promoted {
    async fn open(&self) -> Result<Feed, Error> {
        self.after.open().await
    }

    async fn lag(&self) -> Result<SourceLag, Error> {
        self.after.lag().await
    }

    async fn maintain(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[async_trait]
impl LedgerSource for Promoted {
    async fn claim(&self) -> Result<Claim, Error> {
        let is_first = self.claims.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { self.before.claim().await } else { self.after.claim().await }
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_given_out_again_in_a_later_epoch_is_not_taken_for_the_event_that_was_parked() {
    let lost = MemoryDatabase::default();
    let mut transaction = lost.begin(TOPIC);
    transaction.put(&long("a"), "{}");
    transaction.put("b", "{}");
    transaction.commit();
    let bench = Bench::new();
    bench.database.begin_history();
    bench.commit(&["c", "d"]);
    let mut before = bench.source("one");
    before.database = lost;
    let source = Promoted { before, after: bench.source("one"), claims: AtomicUsize::new(0) };
    // What was parked is known when the transaction fails, and the database is another one then.
    bench.script.then([Fault::Refuse(ErrorKind::Unavailable)]);
    let (relay, letters, begun) = relay(&bench, Arc::new(source));
    let published = timeout(BOUND, run_until(&bench, &relay, 2)).await;
    assert!(published.is_ok(), "an event was passed over: {:?}", bench.on_the_bus().await);
    assert_eq!(begun.load(Ordering::Relaxed), 2);
    assert_eq!(parked(&letters).await, [(long("a"), 1)]);
    let ids: Vec<_> = bench.on_the_bus().await.into_iter().collect();
    assert_eq!(ids, [("c".to_owned(), vec![1]), ("d".to_owned(), vec![2])], "the first has the parked one's id");
}
