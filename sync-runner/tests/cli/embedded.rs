//! Without a broker and without a cluster: the index in a directory.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sync_core::adapter::postgres::{Postgres, PostgresConfig};

use crate::http::get;
use crate::runner::{BOUND, Runner, Running, closed_port};
use crate::servers::given;

const PROJECTION: &str =
    "select id as key, jsonb_build_object('id', id::text, 'title', title, 'n', n) as document, title, n
    from jobs";

const MAPPING: &str = r#"{"mappings":{"dynamic":"strict","properties":{"id":{"type":"keyword"},"title":{"type":"text"},
    "n":{"type":"integer"}}}}"#;

const SETTINGS: &str = "[indexes.jobs]\ntopic = \"jobs\"\nprojection = \"jobs.sql\"\nmapping = \"jobs.json\"\n
    [indexes.jobs.search]\ntext = \"title\"\nfields = \"n\"\norder = \"-n\"\n";

/// A database of its own, and a runner that is told nothing else.
struct Place {
    runner: Runner,
    database: Postgres,
}

impl Place {
    async fn new() -> Self {
        let server = given("SYNC__POSTGRES__URL");
        let name = format!("embedded_{:016x}", rand::random::<u64>());
        let connect = |url: String| Postgres::new(&PostgresConfig::new(url)).unwrap();
        let client = connect(server.clone()).client().await.unwrap();
        client.batch_execute(&format!("create database {name}")).await.unwrap();
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let runner = Runner::new(SETTINGS)
            .with("jobs.sql", PROJECTION)
            .with("jobs.json", MAPPING)
            .variable("DATABASE_URL", &url);
        let place = Self { runner, database: connect(url) };
        place.sql("create table jobs (id bigint primary key, title text, n int)").await;
        let ended = place.runner.run(&["migrate"]);
        assert_eq!(ended.code, Some(0), "{}", ended.all());
        place.sql("select outbox.watch('jobs', 'jobs')").await;
        place
    }

    async fn sql(&self, statement: &str) {
        self.database.client().await.unwrap().batch_execute(statement).await.unwrap();
    }

    fn run(&self) -> (Running, u16) {
        let [search, admin] = [closed_port(), closed_port()];
        let listen = [format!("search.listen=127.0.0.1:{search}"), format!("admin.listen=127.0.0.1:{admin}")];
        let mut running = self.runner.start(&["run", "--set", &listen[0], "--set", &listen[1]]);
        running.until_told("searches are answered at");
        (running, search)
    }

    /// What a command says that must go well.
    fn told(&self, arguments: &[&str]) -> Value {
        let ended = self.runner.run(&[arguments, &["--json"]].concat());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.all());
        ended.json()
    }
}

fn until_found(port: u16, query: &str, total: u64) -> Value {
    let by = Instant::now() + BOUND;
    loop {
        let answer = get(port, query).json();
        if answer["source"] == "local" && answer["total"] == total {
            return answer;
        }
        assert!(Instant::now() < by, "it stayed at {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn changes_are_found_in_a_directory_without_a_broker_and_a_cluster() {
    let place = Place::new().await;
    place.sql("insert into jobs select i, 'invoice ' || i, i from generate_series(1, 50) i").await;
    let check = place.told(&["check"]);
    let found = |part: &str, check_of: &str| {
        let all = check["checks"].as_array().unwrap();
        all.iter().find(|one| one["part"] == part && one["check"] == check_of).unwrap_or_else(|| panic!("{check}"))["found"].to_string()
    };
    assert!(found("local_index", "directory").contains("is made with the first index"), "{check}");
    assert!(found("relay", "bus").contains("direct"), "{check}");

    let (running, port) = place.run();
    let answer = until_found(port, "/search?q=invoice+n:%3E%3D48&sort=-n", 3);
    assert_eq!(answer["hits"][0]["document"], json!({ "id": "50", "title": "invoice 50", "n": 50 }), "{answer}");
    assert_eq!(answer["degraded"], false, "{answer}");
    place.sql("update jobs set title = 'paid' where n > 40; delete from jobs where n <= 10").await;
    until_found(port, "/search?q=paid", 10);
    until_found(port, "/search?q=-paid", 30);
    let status = place.told(&["status"]);
    assert_eq!(
        (&status["indexes"]["jobs"]["documents"], &status["indexes"]["jobs"]["health"]),
        (&json!(40), &json!("green"))
    );

    // Other processes of this machine write to it beside the one that runs.
    assert_eq!(place.told(&["backfill", "jobs"])["rows"], 40);
    let reconciled = place.told(&["reconcile", "--full", "--deep"]);
    assert_eq!(reconciled["reconciled"][0]["fixed"], 0, "{reconciled}");
    running.signal("TERM");
    let (code, told) = running.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("ERROR"), "{told}");
}

#[tokio::test]
async fn an_index_in_a_directory_is_filled_again_after_it_was_lost_and_made_anew_of_another_mapping() {
    let place = Place::new().await;
    place.sql("insert into jobs select i, 'invoice ' || i, i from generate_series(1, 30) i").await;
    let (running, port) = place.run();
    until_found(port, "/search?q=invoice", 30);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    fs::remove_dir_all(place.runner.path().join("sync-indexes")).unwrap();
    let (mut running, port) = place.run();
    assert_eq!(place.told(&["backfill", "jobs"])["rows"], 30);
    until_found(port, "/search?q=invoice", 30);

    // Where it is lost at work, the next change makes it again, and that is told.
    place.sql("update jobs set title = 'paid' where id = 1").await;
    until_found(port, "/search?q=paid", 1);
    fs::remove_dir_all(place.runner.path().join("sync-indexes")).unwrap();
    place.sql("update jobs set title = 'invoice 1' where id = 1").await;
    running.until_told("the index is gone; one is created from the configured mapping");
    assert_eq!(place.told(&["backfill", "jobs"])["rows"], 30);
    until_found(port, "/search?q=invoice", 30);

    place.runner.write("new.json", &MAPPING.replace(r#""n":{"type":"integer"}"#, r#""n":{"type":"long"}"#));
    assert_eq!(place.told(&["reindex", "jobs", "--mapping", "new.json"])["phase"], "switched");
    place.sql("insert into jobs values (31, 'invoice 31', 31)").await;
    until_found(port, "/search?q=invoice", 31);
    assert_eq!(place.told(&["reindex", "jobs", "--finish"])["phase"], "finished");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    // With the configuration that fits the new index.
    place.runner.write("jobs.json", &place.runner.read("new.json"));
    let (running, port) = place.run();
    until_found(port, "/search?q=invoice", 31);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test]
async fn a_directory_whose_writer_is_killed_at_random_moments_lacks_nothing_and_has_nothing_older() {
    let place = Place::new().await;
    for round in 0..8 {
        let (running, _) = place.run();
        for part in 0..10 {
            let first = round * 500 + part * 50;
            place
                .sql(&format!(
                    "insert into jobs select i, 'invoice ' || i, i from generate_series({first}, {first} + 49) i;
                     update jobs set title = 'paid ' || n where n % 10 = {part};
                     delete from jobs where n = {first}"
                ))
                .await;
            std::thread::sleep(Duration::from_millis(rand::random_range(0..60)));
        }
        running.signal("KILL");
        running.end();
    }
    let (running, port) = place.run();
    until_found(port, "/search", 8 * 490);
    // Ends well when nothing differs.
    let compared = place.told(&["reconcile", "--full", "--deep", "--dry-run", "--set", "reconcile.grace=0s"]);
    assert_eq!(compared["reconciled"][0]["finished"], true, "{compared}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// The line of `check` that failed, and how the process ended.
fn failed(place: &Place, arguments: &[&str]) -> (Option<i32>, Value) {
    let ended = place.runner.run(&[&["check", "--json"], arguments].concat());
    let failed = ended.json()["checks"].as_array().unwrap().iter().find(|one| one["verdict"] == "failed").cloned();
    (ended.code, failed.unwrap_or_else(|| panic!("{}", ended.all())))
}

#[tokio::test]
async fn a_check_refuses_of_a_directory_what_a_run_refuses() {
    let place = Place::new().await;
    place.sql("insert into jobs values (1, 'invoice', 1)").await;
    let (running, port) = place.run();
    until_found(port, "/search?q=invoice", 1);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    let other = MAPPING.replace(r#""n":{"type":"integer"}"#, r#""n":{"type":"long"}"#);
    place.runner.write("jobs.json", &other);
    let (code, told) = failed(&place, &[]);
    let why = "indexes.jobs.mapping: jobs-000001 was made of other fields";
    assert_eq!((code, told["part"].as_str()), (Some(2), Some("indexes.jobs")), "{told}");
    assert!(told["found"].to_string().contains(why), "{told}");
    let (code, log) = place.runner.start(&["run"]).end();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains(why), "{log}");

    place.runner.write("jobs.json", MAPPING);
    let files = place.runner.path().join("sync-indexes/jobs/jobs-000001");
    assert_eq!(place.told(&["check"])["ok"], true);
    for entry in fs::read_dir(&files).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        fs::remove_dir_all(entry.path()).unwrap();
    }
    let (code, told) = failed(&place, &[]);
    assert_eq!((code, told["part"].as_str()), (Some(2), Some("indexes.jobs")), "{told}");
    assert!(told["found"].to_string().contains("delete sync-indexes/jobs/jobs-000001, and run"), "{told}");
}

#[tokio::test]
async fn a_check_refuses_half_of_what_is_one_process_without_a_broker() {
    let place = Place::new().await;
    for role in ["relay", "indexer"] {
        let (code, told) = failed(&place, &["--roles", role]);
        assert_eq!((code, told["part"].as_str()), (Some(2), Some("relay")), "{told}");
        assert!(told["found"].to_string().contains("there is no broker between relay and indexer"), "{told}");
    }
    assert_eq!(place.told(&["check", "--roles", "relay,indexer"])["ok"], true);
    assert_eq!(place.told(&["check", "--roles", "search"])["ok"], true);
}

#[tokio::test]
async fn a_document_the_directory_refuses_is_parked_and_can_be_replayed() {
    let place = Place::new().await;
    place.runner.write("jobs.json", &MAPPING.replace(r#""title":{"type":"text"}"#, r#""title":{"type":"date"}"#));
    place.runner.write("sync.toml", &SETTINGS.replace("text = \"title\"\n", ""));
    let (running, port) = place.run();
    place.sql("insert into jobs values (1, 'no date', 1), (2, '2026-01-31', 2)").await;
    until_found(port, "/search", 1);
    let by = Instant::now() + BOUND;
    let letter = loop {
        let listed = place.told(&["dlq", "list"]);
        if let Some(letter) = listed["letters"].get(0) {
            break letter.clone();
        }
        assert!(Instant::now() < by, "{listed}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(letter["error"].to_string().contains("title: \\\"no date\\\" is no date"), "{letter}");
    place.sql("update jobs set title = '2026-02-01' where id = 1").await;
    until_found(port, "/search", 2);
    assert_eq!(place.runner.run(&["dlq", "replay", "--all"]).code, Some(0));
    assert_eq!(place.told(&["dlq", "list"])["letters"], json!([]));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn the_demo_needs_no_server_and_leaves_nothing() {
    let runner = Runner::new("");
    let temporary = runner.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let path = std::env::var("PATH").unwrap();
    let runner = runner.variable("PATH", &path).variable("TMPDIR", temporary.to_str().unwrap());
    let ended = runner.run(&["demo", "--jobs", "300"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.out.contains("the local index") && ended.out.contains("equal,"), "{}", ended.all());
    assert!(ended.out.contains("found by local") && ended.out.contains("found by postgres"), "{}", ended.all());
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0, "{}", ended.all());
}

#[test]
fn a_demo_that_is_interrupted_ends_its_server_and_leaves_nothing() {
    let runner = Runner::new("");
    let temporary = runner.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let path = std::env::var("PATH").unwrap();
    let runner = runner.variable("PATH", &path).variable("TMPDIR", temporary.to_str().unwrap());
    let by = Instant::now() + BOUND;
    let running = runner.start(&["demo", "--stay", "--set", "search.listen=127.0.0.1:0"]);
    let log = |name: &str| fs::read_dir(&temporary).unwrap().flatten().next().map(|made| made.path().join(name));
    while !log("indexes").is_some_and(|indexes| indexes.exists()) {
        assert!(Instant::now() < by, "it did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("INT");
    let (code, told) = running.end();
    assert!(matches!(code, Some(0 | 1)), "{told}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "{told}");
}

#[test]
fn a_demo_whose_searches_cannot_be_answered_says_where_before_anything_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let runner = Runner::new("");
    let temporary = runner.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let path = std::env::var("PATH").unwrap();
    let runner = runner.variable("PATH", &path).variable("TMPDIR", temporary.to_str().unwrap());
    let ended = runner.run(&["demo", "--stay", "--set", &format!("search.listen={address}")]);
    assert_eq!(ended.code, Some(2), "{}", ended.all());
    assert!(ended.err.contains(&format!("cannot listen on {address}")), "{}", ended.all());
    assert!(ended.err.contains("--set search.listen="), "{}", ended.all());
    assert_eq!(ended.out, "");
}
