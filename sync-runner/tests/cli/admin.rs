//! What operators see of a process, and may have it do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use sync_core::telemetry::metrics::{ALL, MetricKind};

use crate::http::{Answer, ask, get};
use crate::runner::{BOUND, Running, closed_port};
use crate::servers::Stage;

pub(crate) const TOKEN: &str = "operators-only-1234";

pub(crate) const MAPPING: &str =
    r#"{"mappings":{"dynamic":"strict","properties":{"id":{"type":"keyword"},"title":{"type":"keyword"}}}}"#;

/// Starts a runner and waits until its admin server listens.
pub(crate) fn start(stage: &Stage, roles: &str, more: &[&str]) -> (Running, u16) {
    let token = format!("admin.token={TOKEN}");
    start_without_token(stage, roles, &[&["--set", &token], more].concat())
}

fn start_without_token(stage: &Stage, roles: &str, more: &[&str]) -> (Running, u16) {
    let port = closed_port();
    let listen = format!("admin.listen=127.0.0.1:{port}");
    let quick = ["--set", "admin.interval=1s", "--set", "admin.count_interval=1s"];
    let arguments = [&["run", "--roles", roles, "--set", &listen], &quick[..], more].concat();
    let mut running = stage.runner.start(&arguments);
    running.until_told("the status page is at");
    (running, port)
}

pub(crate) fn end(running: Running) {
    running.signal("TERM");
    let (code, told) = running.end();
    assert_eq!(code, Some(0), "{told}");
}

#[track_caller]
pub(crate) fn until(what: &str, fits: impl Fn() -> Option<Value>) -> Value {
    let by = Instant::now() + BOUND;
    loop {
        if let Some(found) = fits() {
            return found;
        }
        assert!(Instant::now() < by, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The snapshot, once it is as wanted.
#[track_caller]
pub(crate) fn until_status(port: u16, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let answer = get(port, "/api/status");
        Some(answer.json()).filter(|told| answer.status == 200 && fits(told))
    })
}

/// The exported metrics, each with its kind.
fn metrics(port: u16) -> BTreeMap<String, String> {
    let text = get(port, "/metrics").body;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[tokio::test]
async fn every_documented_metric_exists_at_run_time_and_no_other_does() {
    let Ok(engine) = std::env::var("SYNC_STACK_DOCKER") else { return };
    let stage = Stage::migrated("kafka").await;
    stage.runner.write("jobs.json", MAPPING);
    let configuration = stage.runner.read("sync.toml");
    let listen = closed_port();
    let more = format!(
        "mapping = \"jobs.json\"\n[indexes.jobs.search]\nfields = \"title\"\n[search]\nlisten = \"127.0.0.1:{listen}\"\n\
         [workspaces]\nowner = {:?}\nknown = \"select id, false as is_gone from jobs\"\n\
         [workspaces.hosts.here]\nengine = {engine:?}\n",
        stage.name
    );
    stage.runner.write("sync.toml", &format!("{configuration}{more}"));
    let (running, port) = start(&stage, "relay,indexer,reconciler,search,workspaces,cleanup,admin", &[]);
    stage.sql("insert into jobs select i, 'title' from generate_series(1, 20) i").await;
    until_status(port, "all rows in the index", |told| told["indexes"]["jobs"]["documents"] == 20);
    assert_eq!(get(listen, "/search").status, 200);
    let reconciled = stage.runner.run(&["reconcile", "--full"]);
    assert_eq!(reconciled.code, Some(0), "{}", reconciled.all());
    let wanted: BTreeMap<_, _> =
        ALL.iter().map(|metric| (metric.exported(), format!("{:?}", metric.kind).to_lowercase())).collect();
    until("all metrics", || {
        let (there, wanted) = (metrics(port), wanted.clone());
        let missing: BTreeSet<_> = wanted.keys().filter(|name| !there.contains_key(*name)).collect();
        // A breaker that never opened has made no transition.
        (missing.into_iter().eq(["search_breaker_transitions_total"])).then_some(Value::Null)
    });
    let there = metrics(port);
    for (name, kind) in &there {
        assert_eq!(wanted.get(name), Some(kind), "{name} is not documented so");
    }
    let text = get(port, "/metrics").body;
    for line in [
        "index_documents{index=\"jobs\"} 20",
        "index_rows{index=\"jobs\"} 20",
        "indexer_settled_total{index=\"jobs\",verdict=\"applied\"} 20",
        "outbox_lease_held{subscription=\"search\"} 1",
        "relay_published_total{subscription=\"search\"} 20",
        "reconciliation_fixed{index=\"jobs\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    for metric in ALL.iter().filter(|metric| metric.kind == MetricKind::Histogram) {
        assert!(text.contains(&format!("{}_bucket", metric.exported())), "{} has no buckets", metric.name);
    }
    end(running);
}

#[tokio::test]
async fn a_process_that_lives_says_so_and_one_that_cannot_work_says_why() {
    let stage = Stage::migrated("direct").await;
    let (running, port) = start(&stage, "relay,indexer,admin", &[]);
    until("readiness", || (get(port, "/readyz").status == 200).then_some(Value::Null));
    end(running);
    let nowhere = format!("elasticsearch.url=http://127.0.0.1:{}", closed_port());
    let (running, port) = start(&stage, "relay,indexer,admin", &["--set", &nowhere]);
    let problems = until("its problems", || {
        let answer = get(port, "/readyz");
        let told = answer.json();
        (answer.status == 503 && told["problems"].to_string().contains("index jobs")).then_some(told)
    });
    assert!(problems["problems"][0].as_str().unwrap().contains("elasticsearch.url"), "{problems}");
    assert_eq!(get(port, "/livez").status, 200, "to start it anew would mend nothing");
    end(running);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_or_discarded_only_by_who_shows_the_token() {
    let stage = Stage::migrated("direct").await;
    stage.runner.write("jobs.json", &MAPPING.replace(r#""title":{"type":"keyword"}"#, r#""title":{"type":"integer"}"#));
    let configuration = stage.runner.read("sync.toml");
    stage.runner.write("sync.toml", &format!("{configuration}mapping = \"jobs.json\"\n"));
    let (running, port) = start(&stage, "relay,indexer,admin", &["--set", "indexer.suspicious=0"]);
    stage.sql("insert into jobs values (1, '7'), (2, 'seven'), (3, 'eight')").await;
    until_status(port, "two dead letters", |told| told["dead_letters"]["letters"] == 2);
    let listed = get(port, "/api/dead-letters?limit=1").json();
    assert_eq!((listed["letters"].as_array().unwrap().len(), &listed["more"]), (1, &true.into()));
    let one = listed["letters"][0]["id"].as_i64().unwrap();
    let rest = get(port, &format!("/api/dead-letters?after={one}")).json();
    assert_eq!((rest["letters"].as_array().unwrap().len(), &rest["more"]), (1, &false.into()));
    // Which of the two was parked first is chance.
    let id_of = |key: &str| {
        let all = get(port, "/api/dead-letters").json();
        let mut letters = all["letters"].as_array().unwrap().iter();
        letters.find(|letter| letter["key"] == key).unwrap()["id"].as_i64().unwrap()
    };
    let (first, second) = (id_of("2"), id_of("3"));
    let shown = get(port, &format!("/api/dead-letters/{first}")).json();
    assert!(shown["error"].as_str().unwrap().contains("seven") && shown["key"] == "2", "{shown}");

    let decide = |id: i64, what: &str, headers: &[&str]| -> Answer {
        ask(port, &format!("POST /api/dead-letters/{id}/{what}"), &[&["host: localhost"], headers].concat())
    };
    let token = format!("authorization: Bearer {TOKEN}");
    for headers in [&[][..], &["authorization: Bearer wrong"], &["authorization: Basic b3BlcmF0b3Jz"]] {
        assert_eq!(decide(first, "discard", headers).status, 401);
    }
    let again = decide(first, "replay", &[&token]);
    assert_eq!(again.status, 409, "{}", again.body);
    assert!(again.body.contains("it failed again, and is kept under the number "), "{}", again.body);
    let first = id_of("2");
    stage.sql("update jobs set title = '8' where id = 2").await;
    assert_eq!(decide(first, "replay", &[&token]).status, 200, "its row is fine now");
    assert_eq!(decide(first, "replay", &[&token]).status, 404);
    assert_eq!(decide(second, "discard", &[&token]).status, 200);
    until_status(port, "no dead letter", |told| told["dead_letters"]["letters"] == 0);
    for wrong in ["after=x", "limit=0", "limit=201", "before=1"] {
        assert_eq!(get(port, &format!("/api/dead-letters?{wrong}")).status, 400, "{wrong}");
    }
    end(running);

    // Without the setting nobody may.
    let (running, port) = start_without_token(&stage, "admin", &[]);
    let refused = ask(port, "POST /api/dead-letters/1/discard", &["host: localhost", &token]);
    assert!(refused.status == 403 && refused.body.contains("admin.token"), "{}", refused.body);
    end(running);
}

#[tokio::test]
async fn what_listens_here_only_answers_to_this_machines_names_only() {
    let stage = Stage::migrated("direct").await;
    let (running, port) = start(&stage, "admin", &[]);
    for (path, status) in
        [("/", 403), ("/api/status", 403), ("/api/dead-letters", 403), ("/metrics", 200), ("/livez", 200)]
    {
        assert_eq!(ask(port, &format!("GET {path}"), &["host: rebound.example"]).status, status, "{path}");
    }
    let page = get(port, "/");
    assert!(page.status == 200 && page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    end(running);
}

#[tokio::test]
async fn the_snapshot_comes_again_and_again_until_the_process_ends_at_once() {
    let stage = Stage::migrated("direct").await;
    let (running, port) = start(&stage, "relay,indexer,admin", &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut next = || {
        let line = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let (first, second) = (next(), next());
    assert!(first["at"].as_str() < second["at"].as_str(), "{first} {second}");
    assert_eq!(second["process"]["roles"], serde_json::json!(["relay", "indexer", "admin"]));
    let began = Instant::now();
    end(running);
    assert!(began.elapsed() < Duration::from_secs(5), "an open stream held it up: {:?}", began.elapsed());
}
