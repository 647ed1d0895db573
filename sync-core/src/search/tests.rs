//! The room with searchers that do as they are told, on a clock of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{join_all, pending};

use super::*;
use crate::adapter::memory::MemoryDatabase;
use crate::port::Total;
use crate::version::Version;

#[derive(Clone, Copy, Debug)]
enum Mood {
    Answers(Duration),
    Fails(ErrorKind),
    Silent,
}

#[derive(Debug)]
struct Scripted {
    name: &'static str,
    mood: Mutex<Mood>,
    searches: AtomicUsize,
    /// The version that can be seen; of a key, whatever it is.
    seen: AtomicU64,
}

impl Scripted {
    fn new(name: &'static str) -> Arc<Self> {
        let mood = Mutex::new(Mood::Answers(Duration::from_millis(10)));
        Arc::new(Self { name, mood, searches: AtomicUsize::new(0), seen: AtomicU64::new(0) })
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn searches(&self) -> usize {
        self.searches.swap(0, Ordering::Relaxed)
    }

    async fn act(&self) -> Result<(), Error> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Answers(after) => {
                sleep(after).await;
                Ok(())
            }
            Mood::Fails(kind) => Err(Error::new(kind, "as told")),
            Mood::Silent => pending().await,
        }
    }
}

#[async_trait]
impl Searcher for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn search(&self, _: &Query) -> Result<Found, Error> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        self.act().await?;
        let total = Total { value: 0, is_exact: true };
        Ok(Found { hits: Vec::new(), total, facets: Vec::new(), next: None })
    }

    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error> {
        self.act().await?;
        let seen = Some(self.seen.load(Ordering::Relaxed)).filter(|seen| *seen > 0);
        Ok(writes.iter().all(|write| write.is_seen(seen.map(Version::from_external))))
    }
}

struct Site {
    index: Arc<Scripted>,
    database: Arc<Scripted>,
    rows: MemoryDatabase,
    search: Search,
}

fn site() -> Site {
    let (index, database, rows) = (Scripted::new("index"), Scripted::new("database"), MemoryDatabase::default());
    let search = Search::new("jobs", index.clone(), database.clone(), Arc::new(rows.clone()), SearchConfig::default());
    Site { index, database, rows, search }
}

impl Site {
    /// Who answers, and after how long.
    async fn ask(&self) -> (&'static str, Duration) {
        let answer = self.search.search(&Query::default()).await.unwrap();
        assert_eq!(answer.is_degraded, answer.source == "database");
        (answer.source, answer.took)
    }

    /// So many searches, one every five milliseconds: 200 a second.
    async fn ask_steadily(&self, count: u32) -> Vec<(&'static str, Duration)> {
        let ask = async |number| {
            sleep(Duration::from_millis(5) * number).await;
            self.ask().await
        };
        join_all((0..count).map(ask)).await
    }
}

const ALIKE: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn an_index_that_answers_is_the_only_one_asked() {
    let site = site();
    let answers = site.ask_steadily(100).await;
    assert!(answers.iter().all(|(source, _)| *source == "index"));
    assert_eq!((site.index.searches(), site.database.searches()), (100, 0));
    assert_eq!(site.search.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_says_nothing_costs_a_search_no_more_than_the_time_that_is_late() {
    let site = site();
    site.index.becomes(Mood::Silent);
    let answers = site.ask_steadily(1_000).await;
    let slow = SearchConfig::default().breaker.slow;
    let longest = answers.iter().map(|(_, took)| *took).max().unwrap();
    assert!(longest < slow + Duration::from_millis(70), "{longest:?}");
    assert!(answers.iter().all(|(source, _)| *source == "database"));
    // Those that began before ten were late, and nobody since.
    let asked = site.index.searches();
    assert!((50..70).contains(&asked), "{asked}");
    assert_eq!(site.search.breaker(), BreakerState::Open);
    assert!(answers[200..].iter().all(|(_, took)| *took <= Duration::from_millis(10) + ALIKE));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_slow_counts_as_one_that_fails() {
    let site = site();
    site.index.becomes(Mood::Answers(Duration::from_millis(400)));
    site.ask_steadily(100).await;
    assert_eq!(site.search.breaker(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_half_open_only_the_probes_reach_the_index_and_their_answers_decide() {
    let site = site();
    site.index.becomes(Mood::Fails(ErrorKind::Unavailable));
    site.ask_steadily(20).await;
    assert_eq!(site.index.searches(), 10);
    sleep(Duration::from_secs(30)).await;
    site.ask_steadily(200).await;
    assert_eq!(site.index.searches(), 1, "it failed at once");
    site.index.becomes(Mood::Silent);
    sleep(Duration::from_secs(30)).await;
    let answers = site.ask_steadily(200).await;
    assert_eq!(site.index.searches(), 3);
    assert!(answers.iter().all(|(source, _)| *source == "database"));
    site.index.becomes(Mood::Answers(Duration::from_millis(10)));
    sleep(Duration::from_secs(31)).await;
    let answers = site.ask_steadily(200).await;
    let to_index = answers.iter().filter(|(source, _)| *source == "index").count();
    assert!((3 + 19..=3 + 21).contains(&to_index), "{to_index}: the probes, and a tenth of those who came after them");
    assert_eq!(site.search.breaker(), BreakerState::Recovering);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_back_is_asked_by_more_and_more_and_by_all_in_the_end() {
    let site = site();
    site.index.becomes(Mood::Fails(ErrorKind::Unavailable));
    site.ask_steadily(20).await;
    site.index.becomes(Mood::Answers(Duration::from_millis(10)));
    sleep(Duration::from_secs(30)).await;
    let answers = site.ask_steadily(2_600).await;
    let of_index = |second: usize| {
        answers[second * 200..(second + 1) * 200].iter().filter(|(source, _)| *source == "index").count()
    };
    let seconds: Vec<_> = (0..13).map(of_index).collect();
    assert!(seconds[0].abs_diff(20) < 10, "{seconds:?}");
    assert!(seconds[5].abs_diff(110) < 10, "{seconds:?}");
    assert!(seconds.is_sorted(), "{seconds:?}");
    assert_eq!(seconds[11..], [200, 200]);
    assert_eq!(site.search.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_refused_is_asked_of_nobody_else() {
    let site = site();
    site.index.becomes(Mood::Fails(ErrorKind::Refused));
    for _ in 0..20 {
        assert_eq!(site.search.search(&Query::default()).await.unwrap_err().kind(), ErrorKind::Refused);
    }
    assert_eq!((site.database.searches(), site.search.breaker()), (0, BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_answers_that_something_is_wrong_is_well_and_the_database_answers() {
    let site = site();
    site.index.becomes(Mood::Fails(ErrorKind::Configuration));
    let answers = site.ask_steadily(50).await;
    assert!(answers.iter().all(|(source, _)| *source == "database"));
    assert_eq!(site.search.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn searches_nobody_waits_for_say_nothing_about_the_index() {
    let site = site();
    site.index.becomes(Mood::Silent);
    for _ in 0..50 {
        let query = Query::default();
        tokio::select! {
            _ = site.search.search(&query) => panic!("nobody answers that quickly"),
            () = sleep(Duration::from_millis(20)) => {}
        }
    }
    assert_eq!(site.search.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_neither_answers_it_is_the_error_of_the_database() {
    let site = site();
    site.index.becomes(Mood::Fails(ErrorKind::Unavailable));
    site.database.becomes(Mood::Fails(ErrorKind::TooLarge));
    let error = site.search.search(&Query::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

impl Site {
    async fn ask_for(&self, wrote: &str) -> (&'static str, Duration) {
        let query = Query { wrote: vec![Wrote::parse(wrote)], ..Query::default() };
        let answer = self.search.search(&query).await.unwrap();
        (answer.source, answer.took)
    }
}

impl Site {
    /// Writes a row, or deletes it.
    fn write(&self, key: &str, document: Option<&str>) -> Version {
        let mut transaction = self.rows.begin("jobs");
        match document {
            Some(document) => transaction.put(key, document),
            None => transaction.delete(key),
        }
        transaction.commit();
        let loaded = self.rows.load(&[key.to_owned()]).now_or_never().unwrap().unwrap();
        loaded[0].version
    }

    /// What searches find of any key from now on.
    fn shows(&self, version: Version) {
        self.index.seen.store(version.external(), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_waits_until_the_index_shows_what_the_database_has_of_what_was_written() {
    let site = site();
    let version = site.write("a", Some("{}"));
    let refreshed = async {
        sleep(Duration::from_secs(1)).await;
        site.shows(version);
    };
    let ((source, took), ()) = tokio::join!(site.ask_for("a@1"), refreshed);
    let second = Duration::from_secs(1);
    assert!(source == "index" && took >= second && took < second + Duration::from_millis(100), "{source} {took:?}");
    assert!(site.ask_for("a").await.1 < Duration::from_millis(100));
    let later = site.write("a", Some("{}"));
    assert!(later > version);
    assert_eq!(site.ask_for("a").await.0, "database");
    site.shows(Version::new(0, 1_000_000).unwrap());
    assert_eq!(site.ask_for("a").await.0, "index");
    site.rows.begin_history();
    site.write("a", Some("{}"));
    assert_eq!(site.ask_for("a").await.0, "database", "what it shows is of an earlier epoch, however high");
    assert_eq!(site.search.breaker(), BreakerState::Closed, "it is well");
}

#[tokio::test(start_paused = true)]
async fn of_a_deletion_it_waits_until_nothing_older_is_found() {
    let site = site();
    let written = site.write("a", Some("{}"));
    site.write("a", None);
    site.shows(written);
    assert_eq!(site.ask_for("a").await.0, "database", "it is still there");
    site.index.seen.store(0, Ordering::Relaxed);
    assert_eq!(site.ask_for("a").await.0, "index");
}
