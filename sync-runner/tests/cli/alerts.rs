//! What people are told of how the pipeline stands: each condition when it begins, and when it is over.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sync_core::testkit::{HttpReply, HttpResponder};

use crate::admin::{MAPPING, end, start, until, until_status};
use crate::http::get;
use crate::runner::closed_port;
use crate::servers::Stage;

/// Somebody who notes what they are told.
struct Person {
    hook: HttpResponder,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Person {
    async fn listens() -> Self {
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let noting = Arc::clone(&heard);
        let hook = HttpResponder::start(move |request| {
            noting.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
            HttpReply::Answer { status: 200, body: String::new() }
        });
        Self { hook: hook.await, heard }
    }

    /// What has a runner tell this person, soon, of conditions with these thresholds.
    fn settings(&self, thresholds: &[&str]) -> Vec<String> {
        let quick = ["hold=0s", "settle=1s"].iter().chain(thresholds);
        let mut sets: Vec<_> = quick.map(|set| format!("alerts.conditions.{set}")).collect();
        sets.push(format!("alerts.webhook.url={}", self.hook.url()));
        sets.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect()
    }

    fn told(&self, name: &str, state: &str) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|body| body["alert"] == name && body["state"] == state).count()
    }

    #[track_caller]
    fn was_told_once_of_both_ends(&self, name: &str) {
        until(name, || (self.told(name, "resolved") == 1).then_some(Value::Null));
        assert_eq!(self.told(name, "firing"), 1, "{name} is told once");
    }
}

fn fires(told: &Value, name: &str) -> bool {
    let alerts = told["alerts"].as_array().unwrap();
    alerts.iter().any(|alert| alert["name"] == name && alert["state"] == "firing")
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_wait_are_told_of_when_they_wait_too_long_and_when_they_do_no_more() {
    let stage = Stage::migrated("kafka").await;
    let person = Person::listens().await;
    let settings = person.settings(&["sync_lag=2s", "sync_lag_noticed=1s", "consumer_lag=5"]);
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    let (watching, port) = start(&stage, "relay,admin", &settings);
    // Nobody indexes: what is written waits on the bus.
    stage.sql("insert into jobs select i, 'title' from generate_series(1, 20) i").await;
    let names = ["ConsumerLagHigh", "SyncLagHigh", "SyncLagNoticed"];
    for name in names {
        until_status(port, name, |told| fires(told, name));
    }
    let (indexing, _) = start(&stage, "indexer,admin", &[]);
    until_status(port, "all over", |told| names.iter().all(|name| !fires(told, name)));
    for name in names {
        person.was_told_once_of_both_ends(name);
    }
    end(indexing);
    end(watching);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_not_whole_searches_it_leaves_and_letters_it_refuses_are_told_of_and_told_when_over() {
    let stage = Stage::migrated("direct").await;
    stage.runner.write("jobs.json", &MAPPING.replace(r#""title":{"type":"keyword"}"#, r#""title":{"type":"integer"}"#));
    let sql = "select id as key, jsonb_build_object('id', id::text, 'title', title) as document, id::text from jobs";
    stage.runner.write("jobs.sql", sql);
    let configuration = stage.runner.read("sync.toml");
    let listen = closed_port();
    let more = format!(
        "mapping = \"jobs.json\"\n[indexes.jobs.search]\nfields = \"id\"\n[search]\nlisten = \"127.0.0.1:{listen}\"\n\
         breaker.recover_for = \"0s\"\nbreaker.open_for = \"1s\"\n[indexer]\nsuspicious = 0\n"
    );
    stage.runner.write("sync.toml", &format!("{configuration}{more}"));
    let person = Person::listens().await;
    let settings = person.settings(&["dead_letters=2", "fallbacks_per_minute=3"]);
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    let (running, port) = start(&stage, "relay,indexer,search,admin", &settings);
    stage.sql("insert into jobs values (1, '1'), (2, 'two'), (3, 'three'), (4, 'four')").await;
    until_status(port, "dead letters", |told| fires(told, "DeadLettersGrowing"));

    // A single node has no place for a copy, and a block is answered with an error: as a cluster that lost a node does.
    let set = |settings: &str| {
        let path = format!("/{}/_settings", stage.index.name("jobs"));
        let (status, answer) = stage.index.request("PUT", &path, settings);
        assert_eq!(status, 200, "{answer}");
    };
    set(r#"{"index.number_of_replicas": 1, "index.auto_expand_replicas": false, "index.blocks.read": true}"#);
    until_status(port, "a copy is missing", |told| fires(told, "SearchIndexUnhealthy"));
    until_status(port, "searches in the database", |told| {
        assert_eq!(get(listen, "/search").json()["source"], "postgres");
        fires(told, "FallbackActivated")
    });

    set(r#"{"index.number_of_replicas": 0, "index.blocks.read": null}"#);
    let discarded = stage.runner.run(&["dlq", "discard", "--all"]);
    assert_eq!(discarded.code, Some(0), "{}", discarded.all());
    // Searches of the last minute count.
    let by = Instant::now() + Duration::from_secs(150);
    while person.told("FallbackActivated", "resolved") == 0 {
        assert!(Instant::now() < by, "{:?}", person.heard);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for name in ["DeadLettersGrowing", "FallbackActivated"] {
        person.was_told_once_of_both_ends(name);
    }
    // The cluster is everybody's: it is not whole either while others make their indexes.
    until("it is whole, and people know", || {
        let [firing, resolved] = ["firing", "resolved"].map(|state| person.told("SearchIndexUnhealthy", state));
        (firing > 0 && firing == resolved).then_some(Value::Null)
    });
    end(running);
}
