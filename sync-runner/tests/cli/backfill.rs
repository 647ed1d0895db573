//! `backfill` on real servers.

use std::time::Instant;

use serde_json::json;

use crate::runner::BOUND;
use crate::servers::Stage;

impl Stage {
    /// Jobs nobody has written an event for, as those of before the table was watched.
    async fn with_jobs_of_before(jobs: u32) -> Self {
        let stage = Self::migrated("direct").await;
        let insert = format!("insert into jobs select i, 'job ' || i from generate_series(1, {jobs}) i");
        stage.sql(&format!("set session_replication_role = replica; {insert}; reset session_replication_role")).await;
        assert_eq!(stage.count("select count(*) from outbox.events").await, 0);
        stage
    }

    async fn until_recorded(&self, rows: i64) {
        let by = Instant::now() + BOUND;
        let recorded = "select coalesce(max((counts->>'rows')::bigint), 0) from outbox.runs";
        while self.count(recorded).await < rows {
            assert!(Instant::now() < by, "it did not come so far");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn documents(&self) -> i64 {
        let alias = self.index.name("jobs");
        assert_eq!(self.index.request("POST", &format!("/{alias}/_refresh"), "").0, 200);
        self.index.request("GET", &format!("/{alias}/_count"), "").1["count"].as_i64().unwrap_or_default()
    }
}

#[tokio::test]
async fn rows_that_were_there_before_come_into_the_index() {
    let stage = Stage::with_jobs_of_before(5_000).await;
    let ended = stage.runner.run(&["backfill", "jobs", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let report = ended.json();
    assert_eq!((&report["finished"], &report["resumed_at"]), (&json!(true), &json!(null)), "{report}");
    let counts = ["rows", "applied", "stale", "parked"].map(|name| report[name].as_u64().unwrap());
    assert_eq!((counts, stage.documents()), ([5_000, 5_000, 0, 0], 5_000));
    assert_eq!(stage.count("select count(*) from jobs where es_synced_at is not null").await, 5_000);

    let again = stage.runner.run(&["backfill", "jobs"]);
    assert!(again.out.contains("jobs: 5000 rows in") && again.out.contains("5000 there already"), "{}", again.all());
    let runs = stage.runner.run(&["runs", "--index", "jobs", "--json"]).json();
    let states: Vec<_> = runs["runs"].as_array().unwrap().iter().map(|run| &run["state"]).collect();
    assert_eq!(states, ["finished", "finished"]);
    assert!(stage.runner.run(&["runs"]).out.contains("rows 5000"));
    assert_eq!(stage.runner.run(&["runs", "--index", "people"]).out.trim(), "No runs.");
}

#[tokio::test]
async fn a_backfill_that_is_killed_goes_on_beside_live_changes_and_misses_nothing() {
    let stage = Stage::with_jobs_of_before(3_000).await;
    let running = stage.runner.start(&["run"]);
    let killed = stage.runner.start(&["backfill", "jobs", "--rate", "500"]);
    stage.until_recorded(400).await;
    stage.sql("update jobs set title = 'changed' where id % 10 = 0; delete from jobs where id % 10 = 1").await;
    killed.signal("KILL");
    drop(killed);

    let ended = stage.runner.run(&["backfill", "jobs", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.err.contains("waiting: a backfill of jobs is in the hands of"), "{}", ended.all());
    let report = ended.json();
    assert!(report["resumed_at"].as_u64().is_some_and(|rows| rows >= 400), "{report}");
    assert_eq!(report["finished"], true, "{report}");
    stage.until_status(|report| {
        report["outbox"]["events_behind"] == 0 && report["indexes"]["jobs"]["documents"] == 2_700
    });
    drop(running);
    assert_eq!(stage.documents(), 2_700);
    let alias = stage.index.name("jobs");
    let changed = stage.index.request("GET", &format!("/{alias}/_count?q=title:changed"), "").1;
    assert_eq!(changed["count"], 300);
}

#[tokio::test]
async fn a_backfill_that_is_stopped_says_so_and_the_next_goes_on_at_once_or_begins_anew() {
    let stage = Stage::with_jobs_of_before(2_000).await;
    for (arguments, is_resumed) in
        [(&["backfill", "jobs", "--json"][..], true), (&["backfill", "jobs", "--json", "--restart"], false)]
    {
        let stopped = stage.runner.start(&["backfill", "jobs", "--rate", "300"]);
        stage.until_recorded(250).await;
        stopped.signal("TERM");
        assert_eq!(stopped.end().0, Some(1));
        let began = Instant::now();
        let ended = stage.runner.run(arguments);
        let report = ended.json();
        assert_eq!((&report["rows"], report["resumed_at"].is_u64()), (&json!(2_000), is_resumed), "{}", ended.all());
        assert!(began.elapsed().as_secs() < 10, "it waited for nobody");
        stage.sql("delete from outbox.runs").await;
    }
}

#[tokio::test]
async fn a_backfill_of_an_unknown_index_or_a_projection_that_does_not_run_says_what_to_mend() {
    let stage = Stage::with_jobs_of_before(10).await;
    let unknown = stage.runner.run(&["backfill", "people"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("\"people\"") && unknown.err.contains("jobs"), "{}", unknown.err);
    stage.runner.write("jobs.sql", "select id as key, jsonb_build_object('title', titel) as document from jobs");
    let wrong = stage.runner.run(&["backfill", "jobs", "--json"]);
    assert_eq!(
        (wrong.code, wrong.json()["error"]["kind"].as_str()),
        (Some(2), Some("configuration")),
        "{}",
        wrong.all()
    );
    assert!(wrong.out.contains("indexes.jobs.projection") && wrong.out.contains("titel"), "{}", wrong.out);
}
