//! `reconcile` on real servers: an index damaged in every way beside live changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::runner::BOUND;
use crate::servers::Stage;

/// Jobs nobody changes but the test, and those the live load changes.
pub(crate) const STILL: i64 = 3_000;
pub(crate) const ALL: i64 = 5_000;

/// What changed longer ago than this is on its way no more.
const GRACE: &str = "reconcile.grace=5s";

/// What happened before that is older than it.
const OLD_ENOUGH: Duration = Duration::from_millis(5_500);

impl Stage {
    /// Jobs that are all in the index, beside a runner that goes on.
    pub(crate) async fn with_jobs_in_the_index() -> (Self, crate::runner::Running) {
        let stage = Self::migrated("direct").await;
        let running = stage.runner.start(&["run", "--roles", "relay,indexer"]);
        stage.sql(&format!("insert into jobs select i, 'job ' || i from generate_series(1, {ALL}) i")).await;
        stage.until_status(|report| report["indexes"]["jobs"]["documents"] == ALL);
        (stage, running)
    }

    /// Changes jobs until it is told to stop.
    pub(crate) fn live_load(&self) -> (Arc<AtomicBool>, tokio::task::JoinHandle<()>) {
        let (database, stop) = (self.database.clone(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let load = tokio::spawn(async move {
            let client = database.client().await.unwrap();
            while !told.load(Ordering::Relaxed) {
                let id = rand::random_range(STILL + 1..=ALL);
                let sql = match rand::random_range(0..4) {
                    0 => format!("delete from jobs where id = {id}"),
                    _ => format!(
                        "insert into jobs values ({id}, 'live {}') on conflict (id) do update set title = excluded.title",
                        rand::random::<u32>()
                    ),
                };
                client.batch_execute(&sql).await.unwrap();
                sleep(Duration::from_millis(2)).await;
            }
        });
        (stop, load)
    }

    pub(crate) fn index(&self, method: &str, path: &str, body: &str) -> Value {
        let alias = self.index.name("jobs");
        let (status, answer) = self.index.request(method, &format!("/{alias}{path}"), body);
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
        answer
    }

    fn version(&self, id: i64) -> u64 {
        self.index("GET", &format!("/_doc/{id}?_source=false"), "")["_version"].as_u64().unwrap()
    }

    pub(crate) fn reconcile(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["reconcile", "jobs", "--json", "--set", GRACE];
        all.extend(arguments);
        let ended = self.runner.run(&all);
        let report = ended.json()["reconciled"][0].clone();
        assert_eq!(report["finished"], true, "{}", ended.all());
        report
    }

    /// Damages documents of jobs that nobody changes; says how many of each kind.
    async fn damage(&self) -> Value {
        // Deleted by hand: the index remembers a version of it that is one higher.
        for id in 1..=7 {
            self.index("DELETE", &format!("/_doc/{id}"), "");
        }
        // Older versions put in the place of newer ones: the index must have forgotten these first.
        self.index("PUT", "/_settings", r#"{"index.gc_deletes":"0s"}"#);
        for id in 11..=15 {
            self.index("DELETE", &format!("/_doc/{id}"), "");
        }
        self.index("POST", "/_refresh", "");
        for id in 11..=15 {
            let put = || {
                self.index.request(
                    "PUT",
                    &format!("/{}/_doc/{id}?version=1&version_type=external", self.index.name("jobs")),
                    r#"{"title":"older"}"#,
                )
            };
            let by = Instant::now() + BOUND;
            while put().0 == 409 {
                assert!(Instant::now() < by, "the index never forgot its deletes");
                self.index("POST", "/_refresh", "");
            }
        }
        self.index("PUT", "/_settings", r#"{"index.gc_deletes":"1h"}"#);
        // A message that was lost.
        self.sql(
            "update outbox.versions set version = nextval('outbox.version_seq'), updated_at = now() - interval '1 hour'
              where key in ('16', '17')",
        )
        .await;
        // Written by hand, as one is used to: the version grows by one. And far ahead, in a later epoch too.
        for id in 21..=23 {
            self.index("PUT", &format!("/_doc/{id}"), r#"{"title":"by hand"}"#);
        }
        let far = self.version(24) + 5_000_000;
        self.index("PUT", &format!("/_doc/24?version={far}&version_type=external"), r#"{"title":"far"}"#);
        let later = (3_u64 << 48) + 9;
        self.index("PUT", &format!("/_doc/25?version={later}&version_type=external"), r#"{"title":"later"}"#);
        // Altered under the same version.
        for id in 31..=36 {
            let same = self.version(id);
            self.index(
                "PUT",
                &format!("/_doc/{id}?version={same}&version_type=external_gte"),
                r#"{"title":"altered"}"#,
            );
        }
        // Nobody's: of a key the database cannot have, of one it never had, and of rows that went away unseen.
        self.index("PUT", "/_doc/not-a-number", r#"{"title":"nobody's"}"#);
        self.index("PUT", "/_doc/900001?version=77&version_type=external", r#"{"title":"nobody's"}"#);
        self.sql("set session_replication_role = replica; delete from jobs where id in (41, 42, 43); reset session_replication_role").await;
        sleep(OLD_ENOUGH).await;
        json!({ "missing": 7, "stale": 7, "orphan": 5, "ahead": 5, "drifted": 6 })
    }

    /// Waits until index and database say the same of every job.
    async fn assert_equal(&self) {
        let report = self.until_reconciled_in_a_dry_run();
        let rows = self.count("select count(*) from jobs").await;
        assert_eq!((&report["compared"], &report["listed"]), (&json!(rows), &json!(rows)), "{report}");
    }

    fn until_reconciled_in_a_dry_run(&self) -> Value {
        let by = Instant::now() + BOUND;
        loop {
            let report = self.reconcile(&["--full", "--deep", "--dry-run"]);
            if report["in_flight"] == 0 && kinds(&report) == kinds(&json!({})) {
                return report;
            }
            assert!(Instant::now() < by, "{report}");
        }
    }
}

fn kinds(report: &Value) -> [u64; 5] {
    ["missing", "stale", "orphan", "ahead", "drifted"].map(|kind| report[kind].as_u64().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_damaged_in_every_way_under_live_load_is_told_exactly_and_put_right() {
    let (stage, running) = Stage::with_jobs_in_the_index().await;
    let (stop, load) = stage.live_load();
    let damaged = stage.damage().await;

    let dry = stage.reconcile(&["--full", "--deep", "--dry-run"]);
    assert_eq!((kinds(&dry), &dry["fixed"]), (kinds(&damaged), &json!(0)), "{dry}");
    let report = stage.reconcile(&["--full", "--deep"]);
    assert_eq!(kinds(&report), kinds(&damaged), "{report}");
    let [fixed, parked, unrepaired] = ["fixed", "parked", "unrepaired"].map(|name| report[name].as_u64().unwrap());
    assert_eq!((fixed, parked, unrepaired), (kinds(&damaged).iter().sum(), 0, 0), "{report}");
    let again = stage.reconcile(&["--full", "--deep"]);
    assert_eq!((kinds(&again), &again["fixed"]), ([0; 5], &json!(0)), "{again}");

    // The whole index is lost. What changes meanwhile makes another one.
    let concrete = format!("{}-000001", stage.index.name("jobs"));
    assert_eq!(stage.index.request("DELETE", &format!("/{concrete}"), "").0, 200);
    let lost = stage.reconcile(&["--full"]);
    let [missing, fixed] = ["missing", "fixed"].map(|name| lost[name].as_i64().unwrap());
    assert!(missing >= STILL - 3 && fixed == missing, "{lost}");
    // Those that had just changed when the index was lost might have been on their way.
    sleep(OLD_ENOUGH).await;
    let rest = stage.reconcile(&["--full"]);
    assert_eq!(rest["missing"], rest["fixed"], "{rest}");
    let again = stage.reconcile(&["--full"]);
    assert_eq!((kinds(&again), &again["fixed"]), ([0; 5], &json!(0)), "{again}");

    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    stage.until_status(|report| report["outbox"]["events_behind"] == 0);
    stage.assert_equal().await;
    drop(running);
    let runs = stage.runner.run(&["runs", "--json"]).json();
    let fixed: Vec<_> = runs["runs"].as_array().unwrap().iter().map(|run| &run["counts"]["fixed"]).collect();
    assert_eq!(fixed, [&json!(0), &rest["fixed"], &lost["fixed"], &json!(0), &report["fixed"]], "the newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_lately_is_compared_alone_and_the_report_is_for_people() {
    let (stage, running) = Stage::with_jobs_in_the_index().await;
    drop(running);
    stage.sql("update outbox.versions set updated_at = now() - interval '3 days' where key::bigint > 10").await;
    for id in [1, 2, 100] {
        stage.index("DELETE", &format!("/_doc/{id}"), "");
    }
    sleep(Duration::from_millis(5_100)).await;
    let dry = stage.runner.run(&["reconcile", "--dry-run", "--set", GRACE]);
    assert_eq!(dry.code, Some(1), "something differs: {}", dry.all());
    let told = ["10 keys that changed since", "2 missing; a dry run", "missing \"1\": version", "nothing in the index"];
    assert!(told.iter().all(|told| dry.out.contains(told)), "{}", dry.out);
    let lately = stage.runner.run(&["reconcile", "--set", GRACE]);
    assert!(lately.code == Some(0) && lately.out.contains("2 missing; 2 put right"), "{}", lately.all());
    let since = stage.reconcile(&["--since", "96h"]);
    assert_eq!((&since["compared"], kinds(&since)[0]), (&json!(ALL), 1), "{since}");
    let lately = stage.runner.run(&["reconcile", "--set", GRACE]);
    assert!(lately.code == Some(0) && lately.out.contains("nothing differs"), "{}", lately.all());

    let refused = stage.runner.run(&["reconcile", "people"]);
    assert!(refused.code == Some(2) && refused.err.contains("\"people\""), "{}", refused.all());
    let refused = stage.runner.run(&["reconcile", "--since", "yesterday"]);
    assert!(refused.code == Some(2) && refused.err.contains("48h"), "{}", refused.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_schedule_says_one_of_several_processes_reconciles() {
    let (stage, running) = Stage::with_jobs_in_the_index().await;
    drop(running);
    stage.index("DELETE", "/_doc/1", "");
    let arguments =
        ["run", "--roles", "reconciler", "--set", "reconcile.grace=0s", "--set", "reconcile.schedule=* * * * *"];
    let both = [stage.runner.start(&arguments), stage.runner.start(&arguments)];
    let by = Instant::now() + BOUND + Duration::from_secs(60);
    let runs = loop {
        let runs = stage.runner.run(&["runs", "--json"]).json()["runs"].as_array().unwrap().clone();
        if runs.iter().any(|run| run["state"] == "finished") {
            break runs;
        }
        assert!(Instant::now() < by, "nobody reconciled: {runs:?}");
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(
        (runs.len(), &runs[0]["counts"]["fixed"], &runs[0]["counts"]["missing"]),
        (1, &json!(1), &json!(1)),
        "{runs:?}"
    );
    drop(both);
    let refused =
        stage.runner.run(&["run", "--set", "reconcile.schedule=at three", "--set", "reconcile.time_zone=Mars"]);
    let told = ["reconcile.schedule", "\"0 3 * * *\"", "reconcile.time_zone", "Europe/Berlin"];
    assert!(refused.code == Some(2) && told.iter().all(|told| refused.err.contains(told)), "{}", refused.all());
}
