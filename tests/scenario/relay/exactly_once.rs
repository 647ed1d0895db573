//! The relay that keeps its position on the bus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::ErrorKind;
use sync_core::adapter::memory::{ManualClock, MemoryDeadLetters, MemoryTransactor};
use sync_core::port::{DeadLetters, KeptLetter, LedgerSource, LetterSelection, Mark, Source, Transactor};
use sync_core::relay::{Relay, RelayBuilder, RelayConfig};
use sync_core::testkit::faults::{Fault, Faulty, Hold};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{BOUND, Bench, die_after};

struct Exact {
    bench: Bench,
    transactor: MemoryTransactor,
}

impl Exact {
    fn new() -> Self {
        let bench = Bench::new();
        let transactor = MemoryTransactor::new(bench.bus.clone());
        Self { bench, transactor }
    }

    fn relay(&self, holder: &str) -> Relay {
        self.relay_of(holder).build()
    }

    fn relay_of(&self, holder: &str) -> RelayBuilder {
        let transactor = Arc::new(Faulty::new(self.transactor.clone(), self.bench.script.clone()));
        Relay::exactly_once("search", Arc::new(self.bench.source(holder)), transactor)
    }

    async fn mark(&self) -> Option<Mark> {
        self.transactor.begin("search").await.unwrap().mark().await.unwrap()
    }

    /// Runs a relay until everything that was committed is passed.
    async fn run_to_the_end(&self, relay: &Relay) {
        let shutdown = CancellationToken::new();
        let until = async {
            while !self.bench.script.is_used_up() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.bench.until_passed().await;
            shutdown.cancel();
        };
        let (outcome, ()) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), until) }).await.unwrap();
        outcome.unwrap();
    }

    /// Every event of these keys is on the bus so often, once each and in order.
    async fn assert_once(&self, keys: &[(&str, usize)]) {
        let ids = self.bench.on_the_bus().await;
        let found: BTreeMap<_, _> = ids.iter().map(|(key, ids)| (key.as_str(), ids.len())).collect();
        assert_eq!(found, keys.iter().copied().filter(|(_, times)| *times > 0).collect());
        for (key, ids) in ids {
            assert!(ids.is_sorted_by(|one, next| one < next), "{key}: {ids:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_publishes_exactly_once_dies_at_any_moment_and_neither_loses_nor_repeats() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let exact = Exact::new();
        let mut committed = 0;
        for life in 0..20 {
            for _ in 0..random.random_range(0..4) {
                exact.bench.commit(&["a", "b", "a"]);
                committed += 1;
            }
            let relay = exact.relay(&format!("life {life}"));
            die_after(random.random_range(1..40), relay.run(CancellationToken::new())).await;
            tokio::time::advance(Duration::from_secs(11)).await;
        }
        exact.run_to_the_end(&exact.relay("last")).await;
        exact.assert_once(&[("a", committed * 2), ("b", committed)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_answer_is_lost_or_that_is_refused_is_neither_repeated_nor_skipped() {
    let exact = Exact::new();
    for round in 0..10 {
        exact.bench.commit(&["a", "b", &format!("c{round}")]);
    }
    let faults = [
        Fault::Pass,
        Fault::LoseAnswer,
        Fault::Refuse(ErrorKind::Unavailable),
        Fault::LoseAnswer,
        Fault::LoseAnswer,
        Fault::Refuse(ErrorKind::Fenced),
    ];
    exact.bench.script.then(faults);
    // One batch a transaction, so that there are transactions for all faults.
    let transactor = Arc::new(Faulty::new(exact.transactor.clone(), exact.bench.script.clone()));
    let config = RelayConfig::default().in_flight(1);
    let relay = Relay::exactly_once("search", Arc::new(exact.bench.source("one")), transactor).config(config).build();
    exact.run_to_the_end(&relay).await;
    let rounds: Vec<_> = (0..10).map(|round| format!("c{round}")).collect();
    let keys = [("a", 10), ("b", 10)].into_iter().chain(rounds.iter().map(|key| (key.as_str(), 1)));
    exact.assert_once(&keys.collect::<Vec<_>>()).await;
}

#[tokio::test(start_paused = true)]
async fn of_relays_that_compete_one_at_a_time_publishes_and_nothing_comes_twice() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let exact = Exact::new();
        let relays: Vec<_> = (0..3).map(|number| exact.relay(&format!("relay {number}"))).collect();
        let committed = 30;
        let writing = async {
            for _ in 0..committed {
                exact.bench.commit(&["a", "b", "a"]);
                tokio::time::sleep(Duration::from_millis(random.random_range(0..2_000))).await;
            }
            exact.bench.until_passed().await;
        };
        // Each freezes for longer than its lease, again and again, in the middle of whatever it does.
        let mut freezing = StdRng::seed_from_u64(!seed);
        let competing = relays.iter().map(|relay| {
            let mut random = freezing.fork();
            async move {
                let mut running = std::pin::pin!(relay.run(CancellationToken::new()));
                loop {
                    let awake = Duration::from_millis(random.random_range(1..5_000));
                    assert!(timeout(awake, &mut running).await.is_err(), "it runs on");
                    tokio::time::sleep(Duration::from_secs(random.random_range(0..20))).await;
                }
            }
        });
        let competing = futures::future::join_all(competing);
        tokio::select! {
            outcome = timeout(BOUND * 10, writing) => outcome.unwrap(),
            _ = competing => unreachable!("they run for ever"),
        }
        exact.assert_once(&[("a", committed * 2), ("b", committed)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_ran_out_can_neither_resume_nor_be_renewed() {
    let exact = Exact::new();
    exact.bench.commit(&["a"]);
    let old = exact.bench.source("old");
    let claimed = old.claim().await.unwrap();
    tokio::time::advance(Duration::from_secs(11)).await;
    exact.run_to_the_end(&exact.relay("new")).await;
    let newest = exact.mark().await.unwrap();
    // It wakes, and goes on with what it has.
    let refused = claimed.unresumed.resume(Some(newest)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    assert_eq!(claimed.cursor.renew().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn a_position_of_a_later_term_makes_a_relay_stand_by() {
    let exact = Exact::new();
    exact.bench.commit(&["a"]);
    let mut transactions = exact.transactor.begin("search").await.unwrap();
    let mark = Mark { window: 0, token: "another's".to_owned(), last: None, term: 5, epoch: 0, history: String::new() };
    transactions.publish(Vec::new(), &mark).await.unwrap();
    let relay = exact.relay("one");
    let stopped = timeout(Duration::from_millis(3_500), relay.run(CancellationToken::new())).await;
    assert!(stopped.is_err(), "it stands by");
    assert_eq!(exact.bench.on_the_bus().await, BTreeMap::new());
    assert_eq!(exact.mark().await, Some(mark), "the other's position stays");
}

#[tokio::test(start_paused = true)]
async fn the_position_in_the_database_follows_and_either_kind_of_relay_goes_on_from_the_other() {
    let exact = Exact::new();
    for (round, keys) in [["a"], ["b"], ["c"], ["d"], ["e"]].iter().enumerate() {
        exact.bench.commit(keys);
        let relay = if round % 2 == 0 { exact.bench.relay("one") } else { exact.relay("one") };
        exact.run_to_the_end(&relay).await;
    }
    exact.assert_once(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn the_position_in_the_database_never_passes_what_is_not_committed() {
    let exact = Exact::new();
    let hold = Hold::default();
    exact.bench.script.then([Fault::Hold(hold.clone())]);
    exact.bench.commit(&["a", "b"]);
    let (relay, shutdown) = (exact.relay("one"), CancellationToken::new());
    let checks = async {
        hold.reached().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(exact.bench.source("watching").lag().await.unwrap().events, 2);
        hold.release();
        exact.bench.until_passed().await;
        shutdown.cancel();
    };
    let (outcome, ()) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), checks) }).await.unwrap();
    outcome.unwrap();
    exact.bench.source("two").claim().await.expect("the lease is free at once");
}

#[tokio::test(start_paused = true)]
async fn an_event_the_bus_will_never_take_is_parked_once_and_every_other_comes_once() {
    let exact = Exact::new();
    for _ in 0..10 {
        exact.bench.commit(&["a", "b", "c"]);
    }
    // A transaction is refused; published one by one, its second event is the one.
    let refused = || Fault::Refuse(ErrorKind::Refused);
    exact.bench.script.then([refused(), Fault::Pass, refused()]);
    let letters = MemoryDeadLetters::new();
    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    let relay = exact.relay_of("one").dead_letters(Arc::new(letters.clone()), clock).build();
    exact.run_to_the_end(&relay).await;
    let kept = letters.list(&LetterSelection::default(), 0, 10).await.unwrap();
    let [KeptLetter { letter, .. }] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((letter.key.as_deref(), letter.origin.partition), (Some("b"), -1));
    exact.assert_once(&[("a", 10), ("b", 9), ("c", 10)]).await;
    assert_eq!((relay.progress().counts().published, relay.progress().counts().parked), (29, 1));
}
