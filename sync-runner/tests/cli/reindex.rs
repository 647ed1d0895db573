//! `reindex` on real servers: beside searches, changes and processes that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::runner::{BOUND, Ended};
use crate::servers::Stage;

/// What is committed longer ago is found by every search.
const SOON: Duration = Duration::from_secs(10);

/// Two shards where there was one, and another field beside the title.
const MAPPING: &str = r#"{"settings":{"number_of_shards":2},
    "mappings":{"properties":{"title":{"type":"text","fields":{"raw":{"type":"keyword"}}}}}}"#;

/// Refuses every title that is no number.
const NUMBERS: &str = r#"{"mappings":{"properties":{"title":{"type":"long"}}}}"#;

/// What a searcher saw.
struct Seen {
    searches: u64,
    probes: u64,
}

/// Searches all the time while jobs are written that must be found.
struct Searcher {
    stop: Arc<AtomicBool>,
    probing: tokio::task::JoinHandle<()>,
    searching: tokio::task::JoinHandle<Seen>,
}

impl Searcher {
    fn start(stage: &Stage) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(std::sync::Mutex::new(Vec::<Instant>::new()));
        let (database, stopped, written) = (stage.database.clone(), Arc::clone(&stop), Arc::clone(&committed));
        let probing = tokio::spawn(async move {
            let client = database.client().await.unwrap();
            for id in 1_000_000_i64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                client.execute("insert into jobs (id, title) values ($1, 'probe')", &[&id]).await.unwrap();
                written.lock().unwrap().push(Instant::now());
                sleep(Duration::from_millis(20)).await;
            }
        });
        let (index, stopped) = (Arc::clone(&stage.index), Arc::clone(&stop));
        let searching = tokio::task::spawn_blocking(move || {
            let mut seen = Seen { searches: 0, probes: 0 };
            while !stopped.load(Ordering::Relaxed) {
                let wanted = committed.lock().unwrap().iter().filter(|then| then.elapsed() > SOON).count() as u64;
                let body = r#"{"size":0,"track_total_hits":true,"query":{"match":{"title":"probe"}}}"#;
                let (status, answer) = index.request("POST", &format!("/{}/_search", index.name("jobs")), body);
                assert_eq!((status, &answer["_shards"]["failed"]), (200, &json!(0)), "a search failed: {answer}");
                let found = answer["hits"]["total"]["value"].as_u64().unwrap();
                assert!(found >= wanted, "{found} of {wanted} committed jobs are found");
                (seen.searches, seen.probes) = (seen.searches + 1, found);
            }
            seen
        });
        Self { stop, probing, searching }
    }

    async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.probing.await.unwrap();
        self.searching.await.unwrap()
    }
}

impl Stage {
    /// The concrete index that is searched.
    fn searched(&self) -> String {
        let (status, answer) = self.index.request("GET", &format!("/_alias/{}", self.index.name("jobs")), "");
        let names: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert!(status == 200 && names.len() == 1, "{answer}");
        names[0].clone()
    }

    async fn phase(&self) -> String {
        let newest = "select coalesce((select phase from outbox.reindexes order by id desc limit 1), 'none')";
        self.database.client().await.unwrap().query_one(newest, &[]).await.unwrap().get(0)
    }

    async fn until_phase(&self, phase: &str) {
        let by = Instant::now() + BOUND;
        while self.phase().await != phase {
            assert!(Instant::now() < by, "it stays {}", self.phase().await);
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn reindexed(&self, arguments: &[&str]) -> Ended {
        self.runner.run(&[&["reindex", "jobs"], arguments].concat())
    }

    /// What the whole comparison says differs.
    fn differing(&self) -> Value {
        let report = self.reconcile(&["--full", "--dry-run"]);
        let kinds = ["missing", "stale", "orphan", "ahead", "drifted"].map(|kind| report[kind].as_u64().unwrap());
        json!(kinds)
    }

    async fn nothing_is_left_of_a_reindex(&self) {
        assert_eq!(self.count("select count(*) from outbox.subscriptions where name like 'reindex%'").await, 0);
        assert_eq!(self.count("select count(*) from outbox.runs where ended_at is null").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_anew_and_taken_back_and_made_anew_again_while_it_is_searched_and_changed() {
    let (stage, running) = Stage::with_jobs_in_the_index().await;
    stage.runner.write("new.json", MAPPING);
    let searcher = Searcher::start(&stage);
    let (stop, load) = stage.live_load();
    let old = stage.searched();
    let ended = stage.reindexed(&["--mapping", "new.json", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let (report, new) = (ended.json(), stage.searched());
    assert_eq!((&report["phase"], &report["old"], &report["new"]), (&json!("switched"), &json!(old), &json!(new)));
    assert_ne!(old, new);
    let settings = stage.index("GET", "/_settings?flat_settings=true", "");
    assert_eq!(settings[&new]["settings"]["index.number_of_shards"], "2");
    assert_eq!(stage.differing(), json!([0, 0, 0, 0, 0]));
    stage.nothing_is_left_of_a_reindex().await;

    // The way back, with the changes of meanwhile.
    let again = stage.reindexed(&[]);
    assert!(again.code == Some(0) && again.all().contains("--rollback"), "{}", again.all());
    let killed = stage.runner.start(&["reindex", "jobs", "--rollback"]);
    stage.until_phase("returning").await;
    killed.signal("KILL");
    drop(killed);
    let forth = stage.reindexed(&[]);
    assert!(forth.code == Some(2) && forth.all().contains("on its way back"), "{}", forth.all());
    // Given up, it stays; taken up again, it dies at its last steps.
    let stays = stage.reindexed(&["--abort", "--json"]);
    assert_eq!((stays.code, &stays.json()["phase"]), (Some(0), &json!("switched")), "{}", stays.all());
    assert_eq!((stage.searched(), stage.differing()), (new.clone(), json!([0, 0, 0, 0, 0])));
    stage.nothing_is_left_of_a_reindex().await;
    let killed = stage.runner.start(&["reindex", "jobs", "--rollback"]);
    stage.until_phase("switching_back").await;
    sleep(Duration::from_millis(rand::random_range(0..300))).await;
    killed.signal("KILL");
    drop(killed);
    if stage.phase().await != "rolled_back" {
        let back = stage.reindexed(&["--rollback", "--json"]);
        assert_eq!((back.code, &back.json()["phase"]), (Some(0), &json!("rolled_back")), "{}", back.all());
    }
    assert_eq!(stage.searched(), old);
    assert_eq!(stage.index.request("GET", &format!("/{new}"), "").0, 404);
    assert_eq!(stage.differing(), json!([0, 0, 0, 0, 0]));
    stage.nothing_is_left_of_a_reindex().await;

    let ended = stage.reindexed(&["--mapping", "new.json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let ended = stage.reindexed(&["--finish"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert_eq!(stage.index.request("GET", &format!("/{old}"), "").0, 404);
    assert_eq!(stage.differing(), json!([0, 0, 0, 0, 0]));
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    let seen = searcher.stop().await;
    assert!(seen.searches > 100 && seen.probes > 100, "{} searches, {} probes", seen.searches, seen.probes);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_only_the_new_mapping_refuses_stops_the_reindex_by_name_and_not_the_key() {
    let (stage, running) = Stage::with_jobs_in_the_index().await;
    stage.runner.write("numbers.json", NUMBERS);
    stage.sql("update jobs set title = id::text where id <> 77").await;
    let old = stage.searched();
    let ended = stage.reindexed(&["--mapping", "numbers.json"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all());
    assert!(ended.all().contains("key \"77\"") && ended.all().contains("[title]"), "{}", ended.all());
    assert_eq!((stage.searched(), stage.count("select count(*) from outbox.dead_letters").await), (old.clone(), 0));
    let other = stage.runner.run(&["reindex", "jobs", "--mapping", "jobs.sql"]);
    assert!(other.code == Some(2) && other.all().contains("--abort"), "{}", other.all());

    let status = stage.runner.run(&["status", "--json"]).json();
    let told = &status["reindexes"]["jobs"];
    assert!(told["phase"] == "filling" && told["problem"].as_str().unwrap().contains("\"77\""), "{status}");

    // The row is mended while it is live, and it goes on.
    stage.sql("update jobs set title = '77' where id = 77").await;
    let ended = stage.reindexed(&["--json"]);
    assert_eq!((ended.code, &ended.json()["phase"]), (Some(0), &json!("switched")), "{}", ended.all());
    // From now on the live index refuses such a title, and that is a letter as any other.
    stage.sql("update jobs set title = 'no number' where id = 78").await;
    stage.until_status(|report| report["dead_letters"]["letters"] == 1);
    // What only the new index refused goes into the old one, whatever the letters say.
    let ended = stage.reindexed(&["--rollback"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert_eq!(stage.index("GET", "/_doc/78", "")["_source"]["title"], "no number");
    let ended = stage.reindexed(&["--mapping", "numbers.json"]);
    assert!(ended.code == Some(2) && ended.all().contains("\"78\""), "{}", ended.all());
    let ended = stage.reindexed(&["--abort"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    // A letter about what the searched index lacks as well is passed over.
    stage.sql("update jobs set title = '78' where id = 78").await;
    for decision in [["--mapping", "numbers.json"].as_slice(), &["--finish"]] {
        let ended = stage.reindexed(decision);
        assert_eq!(ended.code, Some(0), "{}", ended.all());
    }
    let newest = "select coalesce(max(id), 0) from outbox.dead_letters";
    let before = stage.count(newest).await;
    stage.sql("update jobs set title = 'no number' where id = 78").await;
    let by = Instant::now() + BOUND;
    while stage.count(newest).await == before {
        assert!(Instant::now() < by, "it is not refused");
        sleep(Duration::from_millis(50)).await;
    }
    let ended = stage.reindexed(&["--mapping", "numbers.json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let lost = stage.reindexed(&["--mapping", "lost.json"]);
    assert!(lost.code == Some(2) && lost.all().contains("--mapping lost.json"), "{}", lost.all());
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reindex_that_is_given_up_leaves_everything_as_it_was() {
    let (stage, running) = Stage::with_jobs_in_the_index().await;
    stage.runner.write("new.json", MAPPING);
    let old = stage.searched();
    let none = stage.reindexed(&["--abort"]);
    assert!(none.code == Some(2) && none.all().contains("no re-index of jobs"), "{}", none.all());
    let stopped = stage.runner.start(&["reindex", "jobs", "--mapping", "new.json", "--rate", "500"]);
    stage.until_phase("filling").await;
    sleep(Duration::from_secs(1)).await;
    stopped.signal("INT");
    let (code, told) = stopped.end();
    assert_eq!((code, stage.phase().await.as_str()), (Some(1), "filling"), "{told}");
    let ended = stage.reindexed(&["--abort", "--json"]);
    assert_eq!((ended.code, &ended.json()["phase"]), (Some(0), &json!("aborted")), "{}", ended.all());
    let new = ended.json()["new"].as_str().unwrap().to_owned();
    assert_eq!((stage.searched(), stage.index.request("GET", &format!("/{new}"), "").0), (old, 404));
    stage.nothing_is_left_of_a_reindex().await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_something_else_wrote_is_refused_and_made_anew() {
    let stage = Stage::migrated("direct").await;
    let (alias, theirs) = (stage.index.name("jobs"), stage.index.name("theirs"));
    let (status, answer) =
        stage.index.request("PUT", &format!("/{theirs}"), &format!(r#"{{"aliases":{{"{alias}":{{}}}}}}"#));
    assert_eq!(status, 200, "{answer}");
    let document = format!("/{theirs}/_doc/1?version=1000000000&version_type=external&refresh=true");
    assert_eq!(stage.index.request("PUT", &document, r#"{"title":"theirs"}"#).0, 201);
    stage.sql("insert into jobs (id, title) values (1, 'ours')").await;

    let mut running = stage.runner.start(&["run"]);
    running.until_told("something else wrote");
    stage.runner.write("new.json", r#"{"mappings":{"properties":{"title":{"type":"text"}}}}"#);
    let ended = stage.reindexed(&["--mapping", "new.json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    stage.until_status(|report| report["outbox"]["events_behind"] == 0 && report["indexes"]["jobs"]["documents"] == 1);
    assert_eq!(stage.differing(), json!([0, 0, 0, 0, 0]));
    assert_eq!(
        stage.index.request("GET", &format!("/{theirs}/_doc/1"), "").1["_source"]["title"],
        "theirs",
        "left as it was"
    );
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}
