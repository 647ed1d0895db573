//! A reconciliation in memory, on paused time, with scripted faults.

use tokio::time::{advance, timeout};

use super::*;
use crate::adapter::memory::{ManualClock, MemoryDatabase, MemoryDeadLetters, MemoryRuns, MemorySink};
use crate::error::ErrorKind;
use crate::port::{DeadLetter, LetterSelection, Origin, Outcome, Projection, RunState, Sink, Write};
use crate::repair::DifferenceKind;
use crate::testkit::faults::{Fault, Faulty, Hold, Script};
use crate::version::Version;

const ALL: ReconcileScope = ReconcileScope { since: None, deep: true, dry_run: false };

/// Everything a reconciliation meets, in memory.
struct Bench {
    database: MemoryDatabase,
    reading: Script,
    sink: MemorySink,
    writing: Script,
    runs: MemoryRuns,
    letters: MemoryDeadLetters,
    config: ReconcileConfig,
}

fn key(row: usize) -> String {
    format!("{row:06}")
}

impl Bench {
    /// With so many rows, all in the index, and older than the grace.
    async fn of(rows: usize) -> Self {
        let bench = Self {
            database: MemoryDatabase::default(),
            reading: Script::default(),
            sink: MemorySink::new(),
            writing: Script::default(),
            runs: MemoryRuns::new(Duration::from_secs(15)),
            letters: MemoryDeadLetters::new(),
            config: ReconcileConfig { page_keys: 100, ..ReconcileConfig::default() },
        };
        let history = bench.database.clone().agree(None).await.unwrap();
        bench.sink.record(&history).await.unwrap();
        for row in 0..rows {
            bench.put(row, &format!("{{\"n\":{row}}}"));
            bench.sync(row).await;
        }
        bench.grow_old().await;
        bench
    }

    async fn grow_old(&self) {
        advance(self.config.grace * 2).await;
    }

    fn put(&self, row: usize, document: &str) {
        let mut transaction = self.database.begin("jobs");
        transaction.put(&key(row), document);
        transaction.commit();
    }

    fn delete(&self, row: usize) {
        let mut transaction = self.database.begin("jobs");
        transaction.delete(&key(row));
        transaction.commit();
    }

    /// What the live indexer does.
    async fn sync(&self, row: usize) {
        let current = self.database.load(&[key(row)]).await.unwrap().remove(0);
        self.write(&current.key, current.version.external(), current.document.as_deref()).await;
    }

    /// What somebody does to the index.
    async fn write(&self, key: &str, version: u64, document: Option<&str>) {
        let (version, document) = (Version::from_external(version), document.map(str::to_owned));
        let outcomes = self.sink.apply(&[Write { key: key.to_owned(), version, document }]).await.unwrap();
        assert!(!matches!(outcomes[0], Outcome::Failed(_)));
    }

    async fn version(&self, row: usize) -> u64 {
        self.database.load(&[key(row)]).await.unwrap()[0].version.external()
    }

    fn reconcile(&self) -> Reconcile {
        Reconcile::new(
            RepairOf { index: "people".into(), topic: "jobs".into() },
            Arc::new(Faulty::new(self.database.clone(), self.reading.clone())),
            Arc::new(Faulty::new(self.sink.clone(), self.writing.clone())),
            Arc::new(self.runs.another()),
            Arc::new(self.letters.clone()),
            Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
            self.config,
        )
    }

    async fn run(&self, scope: ReconcileScope) -> ReconcileCounts {
        let reconcile = self.reconcile();
        let shutdown = CancellationToken::new();
        let ended = timeout(Duration::from_secs(600), reconcile.run(&scope, shutdown.clone())).await.unwrap();
        assert_eq!(ended.unwrap(), ReconcileEnd::Finished);
        reconcile.progress().counts()
    }

    /// Whether the index holds what the database holds.
    async fn is_equal(&self) -> bool {
        crate::repair::compare(&self.database, &self.sink).await.unwrap().is_equal()
    }

    /// One of each kind: rows 0 to 4 are missing, stale, orphaned, ahead and drifted.
    async fn damage(&self) {
        for row in [1, 2] {
            self.put(row, "{\"n\":\"changed\"}");
        }
        self.delete(2);
        self.write(&key(0), self.version(0).await + 1, None).await;
        self.write(&key(3), self.version(3).await + 40, Some("{\"n\":\"ahead\"}")).await;
        self.write(&key(4), self.version(4).await, None).await;
        self.sink.forget(&key(4));
        self.write(&key(4), self.version(4).await, Some("{\"n\":\"drifted\"}")).await;
        self.write("nobody", 9_000, Some("{}")).await;
        self.grow_old().await;
    }
}

const EACH: [(DifferenceKind, u64); 5] = [
    (DifferenceKind::Missing, 1),
    (DifferenceKind::Stale, 1),
    (DifferenceKind::Orphan, 2),
    (DifferenceKind::Ahead, 1),
    (DifferenceKind::Drifted, 1),
];

#[tokio::test(start_paused = true)]
async fn each_kind_of_difference_is_told_and_put_right_and_the_next_run_finds_nothing() {
    let bench = Bench::of(1_000).await;
    bench.damage().await;
    let counts = bench.run(ALL).await;
    assert_eq!(counts.differences, EACH.into());
    assert_eq!((counts.fixed, counts.parked, counts.unrepaired, counts.in_flight), (6, 0, 0, 0));
    assert_eq!((counts.compared, counts.listed), (999, 1_001));
    assert!(bench.is_equal().await);
    let counts = bench.run(ALL).await;
    assert_eq!((counts.differing(), counts.fixed, counts.compared, counts.sampled), (0, 0, 999, 999));
    let runs = bench.runs.list(Some("people"), 9).await.unwrap();
    assert_eq!(runs.iter().filter_map(|past| past.run.counts.get("fixed")).collect::<Vec<_>>(), [&0, &6]);
    assert!(runs.iter().all(|past| past.state == RunState::Finished));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_and_touches_nothing() {
    let bench = Bench::of(10).await;
    bench.damage().await;
    for _ in 0..2 {
        let reconcile = bench.reconcile();
        let scope = ReconcileScope { dry_run: true, ..ALL };
        reconcile.run(&scope, CancellationToken::new()).await.unwrap();
        let counts = reconcile.progress().counts();
        assert_eq!((counts.differences.clone(), counts.fixed), (EACH.into(), 0));
        let ahead = reconcile.progress().found().into_iter().find(|found| found.kind == DifferenceKind::Ahead).unwrap();
        assert_eq!((ahead.key, ahead.index.unwrap().external()), (key(3), ahead.database.external() + 40));
    }
    assert_eq!(bench.runs.list(None, 9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn of_what_changed_since_a_time_only_that_is_compared() {
    let bench = Bench::of(10).await;
    let since = Some(Timestamp::now());
    bench.damage().await;
    let counts = bench.run(ReconcileScope { since, ..ALL }).await;
    // Rows 1 and 2 changed; the others were only tampered with in the index.
    assert_eq!((counts.compared, counts.listed), (2, 0));
    assert_eq!(counts.differences, [(DifferenceKind::Stale, 1), (DifferenceKind::Orphan, 1)].into());
    assert_eq!(counts.fixed, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_younger_than_the_grace_or_a_dead_letter_is_told_apart_and_left() {
    let bench = Bench::of(10).await;
    bench.put(0, "{\"n\":\"on its way\"}");
    bench.delete(1);
    let letter = DeadLetter {
        reader: "people".into(),
        origin: Origin::repair("jobs"),
        event: None,
        key: Some(key(2)),
        value: None,
        error_kind: "refused".into(),
        error: "as it is".into(),
        attempts: 1,
        parked_at: Timestamp::UNIX_EPOCH,
    };
    bench.letters.park(&letter).await.unwrap();
    bench.write(&key(2), 99, None).await;
    let counts = bench.run(ALL).await;
    assert_eq!((counts.in_flight, counts.dead_lettered, counts.differing(), counts.fixed), (2, 1, 0, 0));
    assert!(!bench.is_equal().await);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_changes_while_it_is_looked_at_is_no_difference() {
    let bench = Bench::of(3).await;
    let hold = Hold::default();
    // States are read when scanned, when the suspects are looked at, and once more: before that the row changes.
    bench.reading.then([Fault::Pass, Fault::Pass, Fault::Hold(hold.clone())]);
    bench.write(&key(0), 50, Some("{\"n\":\"newer\"}")).await;
    let (counts, ()) = tokio::join!(bench.run(ALL), async {
        hold.reached().await;
        bench.put(0, "{\"n\":1}");
        hold.release();
    });
    assert_eq!((counts.differing(), counts.in_flight), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn outages_and_lost_answers_cost_delay_and_no_key() {
    let bench = Bench::of(300).await;
    bench.damage().await;
    let down = || Fault::Refuse(ErrorKind::Unavailable);
    bench.reading.then((0..12).flat_map(|_| [Fault::Pass, down(), Fault::LoseAnswer]));
    bench.writing.then([
        down(),
        Fault::LoseAnswer,
        down(),
        Fault::LoseAnswer,
        down(),
        Fault::Fail(ErrorKind::Unavailable),
    ]);
    let counts = bench.run(ALL).await;
    assert_eq!((counts.differences.clone(), counts.fixed), (EACH.into(), 6));
    assert!(bench.is_equal().await && bench.writing.is_used_up() && bench.reading.is_used_up());
    assert_eq!(bench.letters.list(&LetterSelection::default(), 0, 9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_listing_the_index_has_forgotten_begins_anew() {
    let bench = Bench::of(300).await;
    bench.write("nobody", 9_000, Some("{}")).await;
    let hold = Hold::default();
    bench.writing.then([Fault::Pass, Fault::Pass, Fault::Hold(hold.clone())]);
    let (counts, ()) = tokio::join!(bench.run(ReconcileScope { deep: false, ..ALL }), async {
        hold.reached().await;
        bench.sink.forget_listings();
        hold.release();
    });
    assert_eq!((counts.of(DifferenceKind::Orphan), counts.fixed, counts.listed), (1, 1, 301));
    assert!(bench.is_equal().await && bench.writing.is_used_up());
}

#[tokio::test(start_paused = true)]
async fn what_the_index_refuses_is_parked_and_told() {
    let bench = Bench::of(10).await;
    bench.put(0, "no json");
    bench.grow_old().await;
    let counts = bench.run(ALL).await;
    assert_eq!((counts.of(DifferenceKind::Stale), counts.fixed, counts.parked, counts.unrepaired), (1, 0, 1, 0));
    let counts = bench.run(ALL).await;
    assert_eq!((counts.differing(), counts.dead_lettered), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_document_too_far_ahead_is_left_and_told_and_the_others_are_put_right() {
    let bench = Bench::of(10).await;
    bench.damage().await;
    let highest = Version::new(Version::MAX_EPOCH, 7).unwrap();
    bench.write(&key(5), highest.external(), Some("{}")).await;
    let counts = bench.run(ALL).await;
    assert_eq!((counts.of(DifferenceKind::Ahead), counts.fixed, counts.unrepaired), (2, 6, 1));
    assert_eq!(bench.run(ALL).await.unrepaired, 1);
}

#[tokio::test(start_paused = true)]
async fn documents_of_an_earlier_epoch_are_compared_by_their_content() {
    let bench = Bench::of(10).await;
    bench.write(&key(0), 40, Some("{\"n\":\"lost with the old primary\"}")).await;
    bench.put(0, "{\"n\":0}");
    while bench.version(0).await < 40 {
        bench.put(0, "{\"n\":0}");
    }
    bench.database.begin_history();
    bench.grow_old().await;
    let counts = bench.run(ReconcileScope { deep: false, ..ALL }).await;
    assert_eq!(
        (counts.differences.clone(), counts.fixed, counts.sampled),
        ([(DifferenceKind::Stale, 1)].into(), 1, 10)
    );
    assert!(bench.is_equal().await);
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_reconciles_an_index_and_one_that_was_left_half_way_is_given_up() {
    let bench = Bench::of(10).await;
    let held = bench.runs.begin(RunKind::Reconcile, "people").await.unwrap();
    let refused = bench.reconcile().run(&ALL, CancellationToken::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    bench.runs.record(&Run { counts: [("compared".to_owned(), 4)].into(), ..held }).await.unwrap();
    advance(Duration::from_secs(60)).await;
    assert_eq!(bench.run(ALL).await.compared, 10);
    let runs = bench.runs.list(None, 9).await.unwrap();
    assert_eq!(runs.iter().map(|past| past.state).collect::<Vec<_>>(), [RunState::Finished, RunState::GivenUp]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_it_and_what_was_put_right_stays() {
    let mut bench = Bench::of(300).await;
    bench.damage().await;
    bench.config.per_second = NonZeroU32::new(100);
    let shutdown = CancellationToken::new();
    let reconcile = bench.reconcile();
    let (ended, ()) = tokio::join!(reconcile.run(&ALL, shutdown.clone()), async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        shutdown.cancel();
    });
    assert_eq!(ended.unwrap(), ReconcileEnd::Stopped);
    let counts = reconcile.progress().counts();
    assert!(counts.fixed == 4 && (100..300).contains(&counts.compared), "{counts:?}");
    bench.config.per_second = None;
    let counts = bench.run(ALL).await;
    assert_eq!((counts.differing(), counts.fixed), (2, 2), "the orphans");
}
