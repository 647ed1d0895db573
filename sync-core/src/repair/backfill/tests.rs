//! A backfill in memory, on paused time, with scripted faults.

use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::*;
use crate::adapter::memory::{ManualClock, MemoryDatabase, MemoryDeadLetters, MemoryRuns, MemorySink};
use crate::error::ErrorKind;
use crate::port::{KeptLetter, LetterSelection, RunState};
use crate::testkit::faults::{Fault, Faulty, Hold, Script};

/// Everything a backfill meets, in memory.
struct Bench {
    database: MemoryDatabase,
    reading: Script,
    sink: MemorySink,
    writing: Script,
    runs: MemoryRuns,
    letters: MemoryDeadLetters,
    config: BackfillConfig,
}

impl Bench {
    /// With so many rows, in order `000000`, `000001`, …
    fn of(rows: usize) -> Self {
        let bench = Self {
            database: MemoryDatabase::default(),
            reading: Script::default(),
            sink: MemorySink::new(),
            writing: Script::default(),
            runs: MemoryRuns::new(Duration::from_secs(15)),
            letters: MemoryDeadLetters::new(),
            config: BackfillConfig::default(),
        };
        for row in 0..rows {
            bench.put(row, &format!("{{\"n\":{row}}}"));
        }
        bench
    }

    fn put(&self, row: usize, document: &str) {
        let mut transaction = self.database.begin("jobs");
        transaction.put(&format!("{row:06}"), document);
        transaction.commit();
    }

    fn delete(&self, row: usize) {
        let mut transaction = self.database.begin("jobs");
        transaction.delete(&format!("{row:06}"));
        transaction.commit();
    }

    fn backfill(&self) -> Backfill {
        Backfill::new(
            RepairOf { index: "people".into(), topic: "jobs".into() },
            Arc::new(Faulty::new(self.database.clone(), self.reading.clone())),
            Arc::new(Faulty::new(self.sink.clone(), self.writing.clone())),
            Arc::new(self.runs.another()),
            Arc::new(self.letters.clone()),
            Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
            self.config,
        )
    }

    /// A backfill from its beginning to its end.
    async fn run(&self) -> Result<BackfillCounts, Error> {
        let backfill = self.backfill();
        let ended = timeout(Duration::from_secs(600), backfill.run(CancellationToken::new())).await;
        ended.unwrap().map(|ended| {
            assert_eq!(ended, BackfillEnd::Finished);
            backfill.progress().counts()
        })
    }

    async fn indexed(&self, row: usize) -> Option<String> {
        self.sink.fetch(&[format!("{row:06}")]).await.unwrap().pop().flatten().map(|stored| stored.document)
    }

    async fn parked(&self) -> Vec<KeptLetter> {
        self.letters.list(&LetterSelection::default(), 0, 100).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn every_row_comes_into_the_index_and_the_next_backfill_begins_anew() {
    let bench = Bench::of(10_000);
    let counts = bench.run().await.unwrap();
    assert_eq!(counts, BackfillCounts { rows: 10_000, applied: 10_000, stale: 0, parked: 0 });
    assert_eq!(bench.sink.count().await.unwrap(), 10_000);
    assert_eq!(bench.indexed(9_999).await.as_deref(), Some("{\"n\":9999}"));
    assert_eq!(bench.database.synced("000000"), 1);
    let counts = bench.run().await.unwrap();
    assert_eq!(counts, BackfillCounts { rows: 10_000, applied: 0, stale: 10_000, parked: 0 });
    let runs = bench.runs.list(Some("people"), 9).await.unwrap();
    assert!(runs.len() == 2 && runs.iter().all(|past| past.state == RunState::Finished), "{runs:?}");
    assert_eq!(BackfillCounts::from(&runs[0].run.counts), counts);
    assert_eq!(Bench::of(0).run().await.unwrap(), BackfillCounts::default());
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_dies_goes_on_from_where_it_was_recorded_and_passes_every_row() {
    let mut bench = Bench::of(1_000);
    bench.config.per_second = NonZeroU32::new(100);
    let dying = bench.backfill();
    assert!(timeout(Duration::from_millis(5_500), dying.run(CancellationToken::new())).await.is_err());
    let seen = dying.progress().counts().rows;
    drop(dying);
    assert!((500..=560).contains(&seen), "{seen}");
    bench.config.per_second = None;
    let next = bench.backfill();
    assert_eq!(next.run(CancellationToken::new()).await.unwrap(), BackfillEnd::Finished);
    let resumed = next.progress().resumed().unwrap().rows;
    assert!((400..=seen).contains(&resumed), "{resumed}");
    assert_eq!(next.progress().counts().rows, 1_000, "those of before the crash included");
    assert_eq!(bench.sink.count().await.unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_is_stopped_lets_the_next_one_go_on_at_once() {
    let mut bench = Bench::of(1_000);
    bench.config.per_second = NonZeroU32::new(100);
    let shutdown = CancellationToken::new();
    let stopping = bench.backfill();
    let (ended, ()) = tokio::join!(stopping.run(shutdown.clone()), async {
        sleep(Duration::from_secs(3)).await;
        shutdown.cancel();
    });
    assert_eq!(ended.unwrap(), BackfillEnd::Stopped);
    let before = stopping.progress().counts();
    let next = bench.backfill();
    let began = tokio::time::Instant::now();
    assert_eq!(next.run(CancellationToken::new()).await.unwrap(), BackfillEnd::Finished);
    assert_eq!(next.progress().resumed(), Some(before), "nothing is done twice");
    assert_eq!(began.elapsed().as_secs(), 6, "at the rate, without waiting for a lease");
    assert_eq!(bench.sink.count().await.unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn of_two_backfills_one_waits_until_the_other_is_gone() {
    let bench = Bench::of(100);
    let held = bench.runs.begin(RunKind::Backfill, "people").await.unwrap();
    let waiting = bench.backfill();
    let shutdown = CancellationToken::new();
    let (ended, ()) = tokio::join!(waiting.run(shutdown.clone()), async {
        sleep(Duration::from_secs(10)).await;
        bench.runs.record(&held).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(bench.sink.count().await.unwrap(), 0);
        assert!(waiting.progress().waiting_for().unwrap().contains("elsewhere"));
    });
    assert_eq!(ended.unwrap(), BackfillEnd::Finished);
    assert_eq!(bench.sink.count().await.unwrap(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_whose_run_is_over_when_it_is_done_ends_all_the_same() {
    let bench = Bench::of(3);
    let hold = Hold::default();
    bench.writing.then([Fault::Hold(hold.clone())]);
    let (counts, ()) = tokio::join!(bench.run(), async {
        hold.reached().await;
        assert!(bench.runs.abandon(RunKind::Backfill, "people").await.unwrap());
        hold.release();
    });
    assert_eq!((counts.unwrap().applied, bench.sink.count().await.unwrap()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn what_changes_between_the_scan_and_its_write_stays_as_it_is_now() {
    let bench = Bench::of(3);
    let hold = Hold::default();
    bench.writing.then([Fault::Hold(hold.clone())]);
    let backfill = bench.backfill();
    let live = async {
        hold.reached().await;
        bench.put(0, "{\"n\":\"new\"}");
        bench.delete(1);
        let keys = ["000000".to_owned(), "000001".to_owned()];
        let writes = bench.database.load(&keys).await.unwrap().into_iter();
        let writes: Vec<_> = writes
            .map(|row| crate::port::Write { key: row.key, version: row.version, document: row.document })
            .collect();
        bench.sink.apply(&writes).await.unwrap();
        hold.release();
    };
    let shutdown = CancellationToken::new();
    let (ended, ()) = tokio::join!(backfill.run(shutdown.clone()), live);
    assert_eq!(ended.unwrap(), BackfillEnd::Finished);
    assert_eq!(bench.indexed(0).await.as_deref(), Some("{\"n\":\"new\"}"));
    assert_eq!((bench.indexed(1).await, bench.indexed(2).await.as_deref()), (None, Some("{\"n\":2}")));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_either_side_costs_delay_and_parks_nothing() {
    let bench = Bench::of(10_000);
    let down = || Fault::Refuse(ErrorKind::Unavailable);
    bench.reading.then([Fault::Pass, down(), down(), Fault::Pass, down()]);
    bench.writing.then([Fault::Pass, down(), Fault::LoseAnswer, down(), Fault::Fail(ErrorKind::Unavailable)]);
    assert_eq!(bench.run().await.unwrap().rows, 10_000);
    assert_eq!(bench.sink.count().await.unwrap(), 10_000);
    assert_eq!(bench.parked().await, []);
    assert!(bench.reading.is_used_up() && bench.writing.is_used_up());
}

#[tokio::test(start_paused = true)]
async fn poison_is_parked_and_the_rest_indexed_and_a_wrong_mapping_ends_it_with_nothing_parked() {
    let bench = Bench::of(1_000);
    bench.put(7, "no json");
    assert_eq!(bench.run().await.unwrap(), BackfillCounts { rows: 1_000, applied: 999, stale: 0, parked: 1 });
    let [letter] = &bench.parked().await[..] else { panic!("one letter") };
    assert_eq!((letter.letter.key.as_deref(), letter.letter.reader.as_str()), (Some("000007"), "people"));
    assert_eq!(letter.letter.origin, crate::port::Origin::repair("jobs"));

    let bench = Bench::of(1_000);
    bench.writing.then((0..100).map(|_| Fault::Fail(ErrorKind::Refused)));
    let error = bench.run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("mapping"), "{error}");
    assert_eq!(bench.parked().await, []);
    assert!(bench.runs.list(None, 1).await.unwrap()[0].ended_at.is_none(), "the next one goes on");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_is_parked_alone() {
    let bench = Bench::of(300);
    let broken = || Fault::Refuse(ErrorKind::Contract);
    // The scan of the first page fails, and so does every load that has the key, halved until it is alone: 50, 25, 12…
    bench.reading.then([broken(), broken(), broken(), broken(), broken(), broken(), broken()]);
    let counts = bench.run().await.unwrap();
    assert_eq!((counts.rows, counts.applied, counts.parked), (300, 299, 1));
    assert!(bench.reading.is_used_up());
}
