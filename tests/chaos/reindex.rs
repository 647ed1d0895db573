//! An index made anew beside a load and searches, by a process that is killed again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sync_core::testkit::ElasticsearchScratch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{interval, sleep, timeout};
use uuid::Uuid;

use super::kill::deployment;
use super::writers::seed;
use crate::support::domain::MAPPING;
use crate::support::pipeline::Way;
use crate::support::postgres::connect;
use crate::support::runner::{Deployment, Runner};
use crate::support::servers;

/// Jobs that are there before, at scale 1.
const JOBS: u64 = 20_000;

/// Rows filled in in a second, so that the process dies half-way.
const RATE: u64 = 10_000;

/// Between two searches.
const PAUSE: Duration = Duration::from_millis(5);

/// What was committed longer ago than this is found by every search.
const SOON: Duration = Duration::from_secs(15);

/// How long a phase may take to be reached, at scale 1.
const BOUND: Duration = Duration::from_secs(120);

/// Changes in a second, and how many of them are committed together.
const CHANGES: u32 = 500;
const TOGETHER: u32 = 5;

/// Changes jobs at this rate: of five one is an insert, one a deletion.
struct Load {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<u64>,
}

impl Load {
    async fn start(deployment: &Deployment, mut random: StdRng) -> Self {
        let (client, stop) = (connect(&deployment.domain.url).await, Arc::new(AtomicBool::new(false)));
        let rows = client.query("select id from jobs limit 100000", &[]).await.unwrap();
        let mut ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let (mut ticks, mut changes) = (interval(Duration::from_secs(1) / (CHANGES / TOGETHER)), 0);
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                let updated: Vec<_> = (0..3).map(|_| ids[random.random_range(0..ids.len())]).collect();
                let deleted = ids.swap_remove(random.random_range(0..ids.len()));
                let sql = "with gone as (delete from jobs where id = $2),
                                new as (insert into jobs (title) values ('new') returning id),
                                changed as (update jobs set title = 'changed', priority = priority + 1
                                             where id = any($1) and id <> $2)
                           select id from new";
                let new = client.query_one(sql, &[&updated, &deleted]).await.unwrap();
                ids.push(new.get(0));
                changes += u64::from(TOGETHER);
            }
            changes
        });
        Self { stop, writing }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// What the searches were like.
#[derive(Debug, Default)]
struct Seen {
    searches: u64,
    slowest: Duration,
    found: u64,
}

/// Writes jobs, and searches all the time for what was written.
struct Searcher {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<()>,
    searching: JoinHandle<Seen>,
}

impl Searcher {
    async fn start(deployment: &Deployment) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::<Instant>::new())));
        let (client, stopped, written) =
            (connect(&deployment.domain.url).await, Arc::clone(&stop), Arc::clone(&committed));
        let writing = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                client.execute("insert into jobs (title) values ('sought')", &[]).await.unwrap();
                written.lock().unwrap().push(Instant::now());
                sleep(Duration::from_millis(20)).await;
            }
        });
        let (alias, stopped) = (deployment.domain.alias.clone(), Arc::clone(&stop));
        let searching = spawn_blocking(move || {
            let (server, mut seen) = (ElasticsearchScratch::at(&servers::elasticsearch()), Seen::default());
            let body = r#"{"size":0,"track_total_hits":true,"query":{"match":{"title":"sought"}}}"#;
            while !stopped.load(Ordering::Relaxed) {
                let wanted = committed.lock().unwrap().partition_point(|then| then.elapsed() > SOON) as u64;
                let began = Instant::now();
                let (status, answer) = server.request("POST", &format!("/{alias}/_search"), body);
                assert_eq!((status, &answer["_shards"]["failed"]), (200, &json!(0)), "a search failed: {answer}");
                let found = answer["hits"]["total"]["value"].as_u64().unwrap();
                assert!(found >= wanted, "a search found {found} of {wanted} jobs that were committed {SOON:?} ago");
                seen.searches += 1;
                seen.slowest = seen.slowest.max(began.elapsed());
                seen.found = found;
                std::thread::sleep(PAUSE);
            }
            seen
        });
        Self { stop, writing, searching }
    }

    async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap();
        self.searching.await.unwrap()
    }
}

async fn until_phase(deployment: &Deployment, phase: &str, runner: &mut Runner) {
    let sql = "select coalesce((select phase from outbox.reindexes order by id desc limit 1), 'none')";
    let reached = async {
        while deployment.domain.client.query_one(sql, &[]).await.unwrap().get::<_, &str>(0) != phase {
            assert!(runner.is_alive(), "it ended before it was {phase}");
            sleep(Duration::from_millis(2)).await;
        }
    };
    let bound = BOUND * u32::try_from(servers::scale()).unwrap();
    timeout(bound, reached).await.unwrap_or_else(|_| panic!("it is never {phase}"));
}

/// The same mapping, on two shards.
fn another_mapping() -> String {
    let mut mapping: Value = serde_json::from_str(MAPPING).unwrap();
    mapping["settings"]["number_of_shards"] = json!(2);
    mapping.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_anew_beside_a_load_and_searches_however_often_the_process_that_does_it_dies() {
    let deployment = deployment(Way::Kafka).await;
    deployment.write("new.json", &another_mapping());
    let jobs = JOBS * servers::scale();
    let insert = format!("insert into jobs (title) select 'job ' || n from generate_series(1, {jobs}) n");
    deployment.domain.execute(&format!("set session_replication_role = replica; {insert}")).await;
    deployment.domain.execute("set session_replication_role = origin").await;
    let filled = deployment.json(&["backfill", "jobs"]).await;
    assert_eq!(filled["rows"], jobs, "{filled}");
    let mut random = StdRng::seed_from_u64(seed());
    let mut running = deployment.runner("running", "relay,indexer");
    running.start();
    running.until_said(super::kill::INDEXES, 4).await;
    let (load, searcher) = (Load::start(&deployment, random.fork()).await, Searcher::start(&deployment).await);
    let began = Instant::now();

    let rate = RATE.to_string();
    let mut dying = deployment.job("dying", &["reindex", "jobs", "--mapping", "new.json", "--rate", &rate]);
    for (phase, at_most) in [("filling", 2_000 * servers::scale()), ("comparing", 300), ("switching", 50)] {
        dying.start();
        until_phase(&deployment, phase, &mut dying).await;
        sleep(Duration::from_millis(random.random_range(0..at_most))).await;
        if dying.is_alive() {
            dying.kill().await;
        }
    }
    let report = deployment.json(&["reindex", "jobs"]).await;
    assert_eq!(report["phase"], "switched", "{report}");
    // What changes now goes to the new index only.
    sleep(Duration::from_secs(2)).await;
    let (changes, took) = (load.stop().await, began.elapsed());
    let seen = searcher.stop().await;
    println!("{jobs} jobs; {:.0} changes/s for {took:.1?}; {seen:?}", changes as f64 / took.as_secs_f64());
    deployment.until_nothing_is_behind().await;
    assert_eq!(deployment.json(&["reindex", "jobs", "--finish"]).await["phase"], "finished");
    let comparison = deployment.domain.until_equal().await;
    assert_eq!(comparison.indexed, comparison.documents);
    assert!(comparison.documents > jobs && seen.found > 0, "{comparison:?}");
    super::kill::stop(&mut running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_frozen_while_its_index_was_replaced_follows_and_loses_nothing() {
    let deployment = deployment(Way::Kafka).await;
    deployment.write("new.json", &another_mapping());
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 2000) n").await;
    let mut runner = deployment.runner("frozen", "relay,indexer");
    runner.start();
    deployment.until_nothing_is_behind().await;
    let load = Load::start(&deployment, StdRng::seed_from_u64(seed())).await;
    // In the middle of its work.
    sleep(Duration::from_millis(500)).await;
    runner.signal("STOP").await;
    let mut command = deployment.job("reindex", &["reindex", "jobs", "--mapping", "new.json"]);
    command.start();
    assert_eq!(command.end().await.code, Some(0));
    runner.signal("CONT").await;
    sleep(Duration::from_secs(2)).await;
    load.stop().await;
    deployment.until_nothing_is_behind().await;
    assert_eq!(deployment.json(&["reindex", "jobs", "--finish"]).await["phase"], "finished");
    let comparison = deployment.domain.until_equal().await;
    assert_eq!(comparison.indexed, comparison.documents);
    super::kill::stop(&mut runner).await;
}
