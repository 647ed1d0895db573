//! Searches go on, whatever happens to the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcher};
use sync_core::policy::BreakerState;
use sync_core::query::{Order, Query};
use sync_core::search::{Search, SearchConfig};
use sync_core::testkit::conformance::SearcherHarness;
use sync_core::testkit::{
    ElasticsearchScratch, HttpReply, HttpResponder, SEARCHED_PROJECTION, searched_documents, searched_fields,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::support::node::{self, Node};
use crate::support::proxy::{Link, Proxy};
use crate::support::searched::{Index, Table, searched};
use crate::support::servers;

/// Searches a second: 200 from a scale of four on. Two cores have the index, the database that takes its place, and the test;
/// a node that has just been started on a busy machine does not stand more than fifty beside them.
fn rate() -> u64 {
    (servers::scale() * 50).min(200)
}

/// How long the index is left alone; 30 s by default.
const OPEN_FOR: Duration = Duration::from_secs(2);

const PROBES: u32 = 3;

/// How long it takes until all searches go to the index again; 10 s by default.
const RECOVER_FOR: Duration = Duration::from_secs(3);

/// One search: when it began, since the beginning of the load, how long it took, and who answered.
struct Answered {
    at: Duration,
    took: Duration,
    source: &'static str,
}

/// Searches at a steady rate until it is told to end.
struct Load {
    began: Instant,
    searching: tokio::task::JoinHandle<Vec<Answered>>,
    end: tokio_util::sync::CancellationToken,
}

impl Load {
    fn begin(search: &Arc<Search>) -> Self {
        let (began, end) = (Instant::now(), tokio_util::sync::CancellationToken::new());
        let (search, until) = (Arc::clone(search), end.clone());
        let searching = tokio::spawn(async move {
            let (mut tick, mut under_way, mut number) =
                (interval(Duration::from_micros(1_000_000 / rate())), JoinSet::new(), 0);
            while !until.is_cancelled() {
                tick.tick().await;
                let (search, query) = (Arc::clone(&search), query(number));
                number += 1;
                under_way.spawn(async move {
                    let at = began.elapsed();
                    let answer = search.search(&query).await.unwrap_or_else(|error| panic!("at {at:?}: {error}"));
                    Answered { at, took: answer.took, source: answer.source }
                });
            }
            under_way.join_all().await
        });
        Self { began, searching, end }
    }

    async fn end(self) -> Vec<Answered> {
        self.end.cancel();
        self.searching.await.expect("every search is answered")
    }
}

/// What people ask: words, filters, pages.
fn query(number: usize) -> Query {
    let fields = searched_fields();
    let texts = [
        "invoice report server late".to_owned(),
        "tags:urgent priority:5 status:OPEN".to_owned(),
        format!("created_at:2026-02-{:02}", 1 + number % 28),
        "workspace.name:web-* status:PAID priority:>=4".to_owned(),
        format!("id:k{:04}", number % 2_000),
    ];
    let mut query = Query::parse(&texts[number % texts.len()], &fields).unwrap();
    if number.is_multiple_of(3) {
        query.order = Some(Order::parse("-created_at"));
    }
    query
}

struct World {
    proxy: Proxy,
    search: Arc<Search>,
}

impl World {
    async fn until_searched_again(&self) {
        let began = Instant::now();
        while self.search.breaker() != BreakerState::Closed {
            assert!(began.elapsed() < Duration::from_secs(120), "the index is not asked again");
            // Somebody has to search for it to be tried.
            self.search.search(&query(0)).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the index is asked and stays asked, and tells since when: a server that has just been started is
    /// slow when all come at once, and is left alone again.
    async fn steady(&self, load: &Load, what: &str) -> Duration {
        let asked = async {
            loop {
                while self.search.breaker() != BreakerState::Closed {
                    sleep(Duration::from_millis(1)).await;
                }
                let closed = load.began.elapsed();
                while self.search.breaker() == BreakerState::Closed {
                    if load.began.elapsed() > closed + Duration::from_secs(2) {
                        return closed;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            }
        };
        timeout(Duration::from_secs(120), asked).await.unwrap_or_else(|_| panic!("{what}: the index is not asked"))
    }

    /// Strikes in the middle of a load, mends, and tells what the searches saw of it.
    async fn act(&self, what: &str, strike: impl AsyncFnOnce(), mend: impl AsyncFnOnce()) {
        self.until_searched_again().await;
        let load = Load::begin(&self.search);
        let steady = self.steady(&load, what).await;
        strike().await;
        let struck = load.began.elapsed();
        let opened = async {
            while self.search.breaker() == BreakerState::Closed {
                sleep(Duration::from_millis(1)).await;
            }
            load.began.elapsed()
        };
        let opened =
            timeout(Duration::from_secs(20), opened).await.unwrap_or_else(|_| panic!("{what}: it never opened"));
        sleep(Duration::from_secs(4)).await;
        mend().await;
        let mended = load.began.elapsed();
        let closed = self.steady(&load, what).await;
        let answers = load.end().await;
        let during = |from: Duration, to: Duration| {
            answers.iter().filter(move |one| (from..to).contains(&one.at)).collect::<Vec<_>>()
        };
        // Those that were under way when it struck are part of it.
        let begin = struck.saturating_sub(Duration::from_millis(250));
        let [before, over, away, after] = [
            during(steady, begin),
            during(begin, opened + Duration::from_millis(250)),
            during(opened + Duration::from_millis(250), mended),
            during(closed + Duration::from_millis(250), Duration::MAX),
        ];
        println!(
            "search: {what}: {} searches, {} a second, none failed; before {}; change-over {}; away {}; after {}; open after {:?}, closed {:?} after it was mended (open for {OPEN_FOR:?}, recovering for {RECOVER_FOR:?})",
            answers.len(),
            rate(),
            figures(&before),
            figures(&over),
            figures(&away),
            figures(&after),
            opened - struck,
            closed.saturating_sub(mended),
        );
        let from = |answers: &[&Answered], source: &str| answers.iter().filter(|one| one.source == source).count();
        assert!(from(&before, "elasticsearch") * 2 >= before.len(), "{what}");
        assert!(from(&away, "postgres") + usize::try_from(PROBES).unwrap() * 4 >= away.len(), "{what}");
        assert!(from(&after, "elasticsearch") * 2 >= after.len(), "{what}");
        let longest = answers.iter().map(|one| one.took).max().unwrap();
        // The budget of the index, and what the database takes on a busy machine.
        assert!(longest < Duration::from_secs(10), "{what}: {longest:?}");
    }
}

/// Median, 99th percentile, longest.
fn figures(answers: &[&Answered]) -> String {
    let mut took: Vec<_> = answers.iter().map(|one| one.took).collect();
    took.sort();
    let at = |part: usize| {
        took.get((took.len() * part / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    format!("{:.1?} / {:.1?} / {:.1?}", at(50), at(99), at(100))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_search_is_answered_while_the_index_is_killed_frozen_slow_or_says_that_it_cannot() {
    let mut nodes = tokio::task::spawn_blocking(|| Node::cluster(1)).await.unwrap();
    let scratch = ElasticsearchScratch::at(&format!("http://{}", nodes[0].address()));
    let (index, table) = (Index::at(scratch).await, Table::new().await);
    let documents = searched_documents(5, 2_000);
    for part in documents.chunks(500) {
        index.put(part).await;
        table.put(part).await;
    }
    let proxy = Proxy::to(&nodes[0].address()).await;
    let config = SearchConfig::default();
    let config = config.breaker(config.breaker.open_for(OPEN_FOR).probes(PROBES).recover_for(RECOVER_FOR));
    let urls = vec![format!("http://{}", proxy.address())];
    let in_index = Arc::new(index.searched_at(urls, config.budget, config.budget));
    let database = PostgresConfig::new(&table.url).pool_size(16);
    let sql = searched(SEARCHED_PROJECTION, Duration::from_secs(30));
    let rows = Arc::new(PostgresSearcher::new(&database, &[], &sql, searched_fields()).unwrap());
    let search =
        Search::new("notes", in_index, rows, Arc::new(sync_core::adapter::memory::MemoryDatabase::default()), config);
    let world = World { proxy, search: Arc::new(search) };
    // A server that has just been started is slow.
    for number in 0..300 {
        world.search.search(&query(number)).await.unwrap();
    }

    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let full = HttpResponder::start(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
        HttpReply::Answer {
            status: 503,
            body: r#"{"error":{"type":"unavailable_shards_exception"},"status":503}"#.to_owned(),
        }
    })
    .await;
    let real = nodes[0].address();
    let reconnected = async |to: &str| {
        world.proxy.point_at(to);
        world.proxy.set(Link::Reset);
        sleep(Duration::from_millis(5)).await;
        world.proxy.set(Link::Open);
    };
    world
        .act(
            "answers 503",
            async || reconnected(full.url().trim_start_matches("http://")).await,
            async || reconnected(&real).await,
        )
        .await;
    // Ten until it opened and those under way then; afterwards one probe at a time that fails, every two seconds.
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        asked <= 70 + 3 * usize::try_from(PROBES).unwrap(),
        "{asked} searches reached an index that was left alone"
    );

    world
        .act(
            "answers slowly",
            async || world.proxy.set(Link::Slow(Duration::from_millis(300))),
            async || world.proxy.set(Link::Open),
        )
        .await;
    world
        .act(
            "is cut off",
            async || world.proxy.set(Link::Silent),
            async || {
                world.proxy.set(Link::Reset);
                world.proxy.set(Link::Open);
            },
        )
        .await;
    let node = &nodes[0];
    let frozen = std::cell::RefCell::new(None);
    world.act("is frozen", async || drop(frozen.replace(Some(node.freeze()))), async || drop(frozen.take())).await;
    let node = std::cell::RefCell::new(&mut nodes[0]);
    world
        .act(
            "is killed",
            async || node.borrow_mut().kill(),
            async || {
                tokio::task::block_in_place(|| node::run_all(&mut [*node.borrow_mut()]));
            },
        )
        .await;
}
