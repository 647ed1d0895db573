//! The order of the steps, with doubles that write down what they are asked.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::timeout;

use super::*;
use crate::adapter::memory::{ManualClock, MemoryDatabase, MemoryDeadLetters, MemoryRuns, MemorySink};
use crate::port::{DeadLetter, DeadLetters, Origin};
use crate::repair::{BackfillConfig, ReconcileConfig, RepairOf};

/// Re-indexes and concrete indexes that are asked for.
#[derive(Debug)]
struct Recorder {
    asked: Mutex<Vec<String>>,
    /// Cancelled when the alias moves.
    shutdown: CancellationToken,
    /// How often live changes are not there yet when they are asked for.
    late: Mutex<u32>,
}

impl Recorder {
    fn note(&self, what: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What was asked for, without what only keeps it in hand.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|what| *what != "hold").cloned().collect()
    }
}

#[async_trait]
impl Reindexes for Recorder {
    async fn unfinished(&self, _: &str) -> Result<Option<Reindexing>, Error> {
        Ok(None)
    }

    async fn names(&self, _: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn begin(&self, _: &ReindexOf) -> Result<Reindexing, Error> {
        Ok(reindexing(ReindexPhase::Filling))
    }

    async fn hold(&self, of: &Reindexing) -> Result<Reindexing, Error> {
        self.note("hold".to_owned());
        Ok(of.clone())
    }

    async fn reach(&self, _: &Reindexing, phase: ReindexPhase) -> Result<(), Error> {
        self.note(format!("reach {phase}"));
        Ok(())
    }

    async fn release(&self, _: &Reindexing, problem: Option<&str>) -> Result<(), Error> {
        self.note(problem.map_or_else(|| "release".to_owned(), |problem| format!("release: {problem}")));
        Ok(())
    }

    async fn committed(&self) -> Result<String, Error> {
        Ok("now".to_owned())
    }

    async fn has_passed(&self, _: &Reindexing, _: &str) -> Result<bool, Error> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if *late > 0 {
            *late -= 1;
            return Ok(false);
        }
        *late = 3;
        self.note("caught up".to_owned());
        Ok(true)
    }
}

#[async_trait]
impl ConcreteIndexes for Recorder {
    async fn searched(&self) -> Result<Option<String>, Error> {
        Ok(Some("old".to_owned()))
    }

    async fn next_name(&self, _: &str, _: &[String]) -> Result<String, Error> {
        Ok("new".to_owned())
    }

    async fn make(&self, name: &str, _: i64, _: &str) -> Result<(), Error> {
        self.note(format!("make {name}"));
        Ok(())
    }

    async fn refresh(&self, name: &str) -> Result<(), Error> {
        self.note(format!("refresh {name}"));
        Ok(())
    }

    async fn switch(&self, from: &str, to: &str) -> Result<(), Error> {
        self.note(format!("switch {from} {to}"));
        self.shutdown.cancel();
        Ok(())
    }

    async fn seal(&self, name: &str) -> Result<(), Error> {
        // Every write under way has to end.
        sleep(Duration::from_secs(1)).await;
        self.note(format!("seal {name}"));
        Ok(())
    }

    async fn unseal(&self, name: &str) -> Result<(), Error> {
        self.note(format!("unseal {name}"));
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.note(format!("delete {name}"));
        Ok(())
    }
}

fn reindexing(phase: ReindexPhase) -> Reindexing {
    let [index, topic, old, new, mapping] = ["jobs", "jobs", "old", "new", "{}"].map(str::to_owned);
    let about = ReindexOf { index, topic, old, new, mapping };
    Reindexing { id: 1, about, phase, problem: None, began_at: Timestamp::UNIX_EPOCH }
}

struct Bench {
    reindex: Reindex,
    recorder: Arc<Recorder>,
    refusals: Arc<Refusals>,
    sink: MemorySink,
    shutdown: CancellationToken,
}

/// With three rows.
fn bench(phase: ReindexPhase) -> Bench {
    let (database, sink, shutdown) = (MemoryDatabase::default(), MemorySink::new(), CancellationToken::new());
    for key in ["a", "b", "c"] {
        let mut transaction = database.begin("jobs");
        transaction.put(key, "{}");
        transaction.commit();
    }
    let of = || RepairOf { index: "new".to_owned(), topic: "jobs".to_owned() };
    let (letters, runs) = (Arc::new(MemoryDeadLetters::new()), Arc::new(MemoryRuns::new(Duration::from_secs(15))));
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let rows = Arc::new(database);
    let searched = Arc::new(MemorySink::new());
    let refusals = Arc::new(Refusals::new("jobs", letters, Arc::<MemoryDatabase>::clone(&rows), searched));
    let recorder = Arc::new(Recorder { asked: Mutex::default(), shutdown: shutdown.clone(), late: Mutex::new(3) });
    let backfill = Backfill::new(
        of(),
        Arc::<MemoryDatabase>::clone(&rows),
        Arc::new(sink.clone()),
        Arc::<MemoryRuns>::clone(&runs),
        Arc::<Refusals>::clone(&refusals),
        Arc::<ManualClock>::clone(&clock),
        BackfillConfig::default(),
    );
    let reconcile = Reconcile::new(
        of(),
        rows,
        Arc::new(sink.clone()),
        runs,
        Arc::<Refusals>::clone(&refusals),
        clock,
        ReconcileConfig::default(),
    );
    let tools = ReindexTools {
        reindexes: Arc::<Recorder>::clone(&recorder),
        indexes: Arc::<Recorder>::clone(&recorder),
        backfill,
        reconcile,
        refusals: Arc::<Refusals>::clone(&refusals),
    };
    Bench { reindex: Reindex::new(reindexing(phase), tools), recorder, refusals, sink, shutdown }
}

impl Bench {
    /// Runs it beside a follower that notes when it is told to stop.
    async fn run(&self) -> Result<ReindexEnd, Error> {
        let recorder = Arc::clone(&self.recorder);
        let follower = |stop: CancellationToken| -> BoxFuture<'static, Result<(), Error>> {
            Box::pin(async move {
                stop.cancelled().await;
                recorder.note("follower stopped".to_owned());
                Ok(())
            })
        };
        timeout(Duration::from_secs(600), self.reindex.run(follower, self.shutdown.clone())).await.unwrap()
    }
}

/// What a switch is, and what comes after it. A person who asks it to stop in the middle is not heard.
const SWITCHED: [&str; 7] =
    ["caught up", "refresh new", "switch old new", "seal old", "caught up", "refresh new", "follower stopped"];

#[tokio::test(start_paused = true)]
async fn searches_move_once_live_changes_are_there_and_it_ends_once_all_that_went_to_the_sealed_index_is() {
    let bench = bench(ReindexPhase::Filling);
    assert_eq!(bench.run().await.unwrap(), ReindexEnd::Switched);
    let before = ["make new", "reach comparing", "caught up", "reach switching"];
    let expected = [&before[..], &SWITCHED, &["reach switched", "release"]].concat();
    assert_eq!(bench.recorder.asked(), expected);
    assert_eq!(crate::port::Sink::count(&bench.sink).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_died_is_taken_again_as_a_whole() {
    let bench = bench(ReindexPhase::Switching);
    assert_eq!(bench.run().await.unwrap(), ReindexEnd::Switched);
    assert_eq!(bench.recorder.asked(), [&SWITCHED[..], &["reach switched", "release"]].concat());
}

#[tokio::test(start_paused = true)]
async fn the_way_back_compares_until_nothing_can_have_been_missed_and_the_new_index_goes_last() {
    let bench = bench(ReindexPhase::Returning);
    let began = Instant::now();
    assert_eq!(bench.run().await.unwrap(), ReindexEnd::RolledBack);
    assert!(began.elapsed() >= ReconcileConfig::default().grace, "{:?}", began.elapsed());
    let asked = bench.recorder.asked();
    let back = ["reach switching back", "caught up", "refresh old", "switch new old", "seal new", "caught up"];
    let end = ["refresh old", "follower stopped", "delete new", "reach rolled back", "release"];
    let expected = [&back[..], &end].concat();
    assert_eq!(asked[asked.len() - expected.len()..], expected, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_only_the_new_index_refuses_ends_it_and_is_recorded() {
    let bench = bench(ReindexPhase::Comparing);
    let letter = DeadLetter {
        reader: "new".to_owned(),
        origin: Origin::repair("jobs"),
        event: None,
        key: Some("b".to_owned()),
        value: None,
        error_kind: "refused".to_owned(),
        error: "no number".to_owned(),
        attempts: 1,
        parked_at: Timestamp::UNIX_EPOCH,
    };
    bench.refusals.park(&letter).await.unwrap_err();
    let error = bench.run().await.unwrap_err();
    assert!(error.to_string().contains("\"b\""), "{error}");
    let asked = bench.recorder.asked();
    let last = asked.last().unwrap();
    assert!(last.starts_with("release: ") && last.contains("\"b\""), "{asked:?}");
    assert!(
        asked.iter().any(|what| what == "follower stopped") && !asked.iter().any(|what| what.starts_with("switch"))
    );
}
