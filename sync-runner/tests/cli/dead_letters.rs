//! `dlq` on real servers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sync_core::testkit::{HttpReply, HttpResponder};

use crate::runner::{BOUND, Ended, Running};
use crate::servers::Stage;

impl Stage {
    /// Jobs whose title is not a number are refused by the index.
    async fn with_poison() -> Self {
        let stage = Self::migrated("direct").await;
        stage.runner.write("jobs.json", r#"{"mappings":{"properties":{"title":{"type":"integer"}}}}"#);
        let running = stage.runner.start(&["run", "--set", "indexes.jobs.mapping=jobs.json"]);
        let insert = "insert into jobs select i, case when i in (3, 5, 7) then 'seven' else i::text end
                        from generate_series(1, 20) i";
        stage.sql(insert).await;
        stage.until_status(|report| {
            report["dead_letters"]["letters"] == 3 && report["indexes"]["jobs"]["documents"] == 17
        });
        drop(running);
        stage
    }

    #[track_caller]
    fn dlq(&self, arguments: &[&str]) -> Ended {
        self.runner.run(&[&["dlq"], arguments].concat())
    }

    /// Numbers and keys of the letters.
    #[track_caller]
    fn listed(&self, arguments: &[&str]) -> Vec<(i64, String)> {
        let ended = self.dlq(&[&["list", "--json"], arguments].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.all());
        let letters = ended.json()["letters"].as_array().unwrap().clone();
        let named = |letter: &Value| (letter["id"].as_i64().unwrap(), letter["key"].as_str().unwrap().to_owned());
        letters.iter().map(named).collect()
    }

    fn title_of(&self, key: &str) -> Value {
        let (_, found) = self.index.request("GET", &format!("/{}/_doc/{key}", self.index.name("jobs")), "");
        found["_source"]["title"].clone()
    }
}

#[tokio::test]
async fn dead_letters_can_be_listed_shown_replayed_and_discarded() {
    let stage = Stage::with_poison().await;
    let letters = stage.listed(&[]);
    let mut keys: Vec<_> = letters.iter().map(|(_, key)| key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["3", "5", "7"]);

    let table = stage.dlq(&["list", "--limit", "2"]).out;
    for words in ["LETTER", "jobs", "refused", "title", "1 more"] {
        assert!(table.contains(words), "{words} is missing: {table}");
    }
    let (id, key) = &letters[0];
    let shown = stage.dlq(&["show", &id.to_string(), "--json"]).json();
    assert_eq!((&shown["key"], &shown["attempts"]), (&json!(key), &json!(1)));
    assert!(shown["error"].as_str().unwrap().contains("_parsing_exception"), "{shown}");
    assert!(shown["event"].is_i64() && shown["offset"].is_i64(), "{shown}");
    let text = stage.dlq(&["show", &id.to_string()]).out;
    assert!(text.contains("_parsing_exception") && text.contains("offset"), "{text}");

    // Nothing is mended yet.
    let again = stage.dlq(&["replay", "--key", "3", "--json"]);
    assert_eq!((again.code, &again.json()["replayed"]), (Some(1), &json!(0)), "{}", again.all());
    assert_eq!(again.json()["failed"][0]["key"], "3");
    let tried = stage.listed(&["--key", "3"]);
    assert_eq!(stage.dlq(&["show", &tried[0].0.to_string(), "--json"]).json()["attempts"], 2);
    assert_eq!(again.json()["failed"][0]["kept_as"], tried[0].0, "it has another number");

    // One is mended behind the triggers' back, one is deleted so: replaying reads the rows as they are now.
    stage
        .sql(
            "set session_replication_role = replica; update jobs set title = '33' where id = 3;
               delete from jobs where id = 5",
        )
        .await;
    let replayed = stage.dlq(&["replay", "--key", "3", "--key", "5", "--json"]);
    assert_eq!((replayed.code, replayed.json()), (Some(0), json!({ "replayed": 2, "failed": [], "missing": [] })));
    assert_eq!((stage.title_of("3"), stage.title_of("5")), (json!("33"), json!(null)));

    let all = stage.dlq(&["replay", "--all"]);
    assert_eq!(all.code, Some(1));
    assert!(all.out.contains("0 replayed, 1 failed again") && all.out.contains("_parsing"), "{}", all.out);
    assert_eq!(
        stage.dlq(&["discard", "--error", "refused", "--json"]).json(),
        json!({ "discarded": 1, "missing": [] })
    );
    assert!(stage.dlq(&["list"]).out.contains("No dead letters"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_once_of_each_dead_letter_by_however_many_processes() {
    let stage = Stage::with_poison().await;
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let bodies = Arc::clone(&told);
    let hook = HttpResponder::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        bodies.lock().unwrap().push(body);
        HttpReply::Answer { status: 200, body: String::new() }
    })
    .await;
    stage.sql("update outbox.dead_letters set announced_at = null, claimed_until = null").await;
    let url = format!("alerts.webhook.url={}/hook", hook.url());
    let arguments = ["run", "--set", &url, "--set", "alerts.poll_interval=100ms", "--set", "alerts.log=false"];
    let running = [stage.runner.start(&arguments), stage.runner.start(&arguments)];
    let by = Instant::now() + BOUND;
    let unannounced = "select count(*) from outbox.dead_letters where announced_at is null";
    while stage.count(unannounced).await > 0 {
        assert!(Instant::now() < by, "{told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(running);
    let told = told.lock().unwrap().clone();
    let mut keys: Vec<_> = told.iter().map(|body| body["dead_letters"][0]["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["3", "5", "7"]);
}

#[tokio::test]
async fn letters_are_replayed_and_discarded_only_when_it_is_said_which() {
    let stage = Stage::with_poison().await;
    for command in ["replay", "discard"] {
        let ended = stage.dlq(&[command]);
        assert_eq!(ended.code, Some(2), "{}", ended.all());
        assert!(ended.err.contains("--all"), "{}", ended.err);
    }
    let none = [["--older-than", "1h"], ["--reader", "people"], ["--error", "contract"], ["--id", "999999"]];
    for selection in none {
        let selection = selection.as_slice();
        assert_eq!(stage.listed(selection), [], "{selection:?}");
        let discarded = stage.dlq(&[&["discard", "--json"], selection].concat());
        // Who names a number means a letter.
        let missing = if selection[0] == "--id" { json!([999_999]) } else { json!([]) };
        let code = Some(i32::from(selection[0] == "--id"));
        assert_eq!(
            (discarded.code, discarded.json()),
            (code, json!({ "discarded": 0, "missing": missing })),
            "{selection:?}"
        );
    }
    assert_eq!(stage.listed(&["--reader", "jobs", "--error", "refused"]).len(), 3);
    let unknown = stage.dlq(&["show", "999999", "--json"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("dlq list"));
    let odd = stage.dlq(&["list", "--older-than", "yesterday"]);
    assert_eq!(odd.code, Some(2));
    assert!(odd.err.contains("48h"), "{}", odd.err);
}

#[tokio::test]
async fn an_event_that_was_never_published_is_written_anew() {
    let stage = Stage::migrated("direct").await;
    stage.sql("insert into jobs values (1, 'one')").await;
    stage
        .sql(&format!(
            "insert into outbox.dead_letters (reader, topic, subject, origin_partition, origin_offset, event_id, key,
                                          error_kind, error, attempts, parked_at)
         select 'search', topic, id::text, -1, id, id, key, 'refused', 'too large', 1, now() from outbox.events
         union all select 'search', '{topic}', 'gone', -1, 999, 999, '9', 'refused', 'too large', 1, now();
         with old as (select outbox.emit('{topic}', 'moved-on', 'INDEX', '{{\"v\": 1}}') as id)
         insert into outbox.dead_letters (reader, topic, subject, origin_partition, origin_offset, event_id, key,
                                          error_kind, error, attempts, parked_at)
         select 'search', '{topic}', 'moved on', -1, id, id, 'moved-on', 'refused', 'too large', 1, now() from old;
         select outbox.emit('{topic}', 'moved-on', 'INDEX', '{{\"v\": 2}}')",
            topic = stage.name
        ))
        .await;
    let replayed = stage.dlq(&["replay", "--reader", "search", "--json"]);
    assert_eq!(replayed.code, Some(1));
    let report = replayed.json();
    assert_eq!((&report["replayed"], &report["failed"][0]["key"]), (&json!(1), &json!("9")), "{report}");
    assert!(report["failed"][0]["error"].as_str().unwrap().contains("no longer in the outbox"), "{report}");
    assert_eq!(report["failed"][1]["key"], "moved-on", "what it carried would come after what is newer");
    assert!(report["failed"][1]["error"].as_str().unwrap().contains("has changed since"), "{report}");
    assert_eq!(stage.count("select count(*) from outbox.events where key = '1' and action = 'INDEX'").await, 2);
    assert_eq!(stage.listed(&[]).len(), 2);
}

/// A payload that no broker here takes, and that cannot be made small.
const TOO_LARGE: &str = "
select outbox.emit('{topic}', '2', payload => to_jsonb((
    select string_agg(md5(n::text || random()), '') from generate_series(1, 100000) n)))";

fn delivering(stage: &Stage, delivery: &str) -> Running {
    let (delivery, namespace) = (format!("relay.delivery={delivery}"), format!("relay.namespace={}", stage.name));
    stage.runner.start(&["run", "--set", &delivery, "--set", &namespace])
}

async fn an_event_too_large_is_parked(delivery: &str) {
    let stage = Stage::migrated("kafka").await;
    let running = delivering(&stage, delivery);
    stage.sql("insert into jobs values (1, 'one'), (3, 'three')").await;
    stage.sql(&TOO_LARGE.replace("{topic}", &stage.name)).await;
    stage.sql("insert into jobs values (4, 'four')").await;
    stage.until_status(|report| report["dead_letters"]["letters"] == 1 && report["indexes"]["jobs"]["documents"] == 3);
    let (id, key) = stage.listed(&["--reader", "search"]).remove(0);
    assert_eq!(key, "2");
    let shown = stage.dlq(&["show", &id.to_string(), "--json"]).json();
    assert!(shown["error"].as_str().unwrap().contains("max.message.bytes"), "{}", shown["error"]);
    assert!(shown["value"].as_str().unwrap().len() > 3_000_000, "all it carried is kept");
    assert_eq!((&shown["partition"], &shown["event"]), (&json!(null), &json!(3)));

    // Written anew, it is as large as it was.
    let replayed = stage.dlq(&["replay", "--id", &id.to_string(), "--json"]);
    assert_eq!(replayed.json()["replayed"], 1, "{}", replayed.all());
    stage.until_status(|report| report["dead_letters"]["letters"] == 1 && report["outbox"]["events_behind"] == 0);
    drop(running);
}

#[tokio::test]
async fn an_event_larger_than_its_topic_takes_is_parked_and_holds_up_nothing() {
    an_event_too_large_is_parked("at_least_once").await;
}

#[tokio::test]
async fn an_event_larger_than_its_topic_takes_is_parked_in_exactly_once_too() {
    an_event_too_large_is_parked("exactly_once").await;
}

/// The first of them is a topic like any other; Kafka lets no second one differ from it by `.` and `_` only.
const WITHOUT_A_TOPIC: &str = "
select outbox.emit('{topic}.of', 'first');
select outbox.emit('{topic}_of', 'of a name too like another');
select outbox.emit('__consumer_offsets', 'of kafka');
select outbox.emit('sync-relay-positions', 'of the relay')";

async fn an_event_without_a_topic_is_parked(delivery: &str) {
    let stage = Stage::migrated("kafka").await;
    let running = delivering(&stage, delivery);
    stage.sql("insert into jobs values (1, 'one')").await;
    stage.sql(&WITHOUT_A_TOPIC.replace("{topic}", &stage.name)).await;
    stage.sql("insert into jobs values (2, 'two')").await;
    stage.until_status(|report| report["dead_letters"]["letters"] == 3 && report["indexes"]["jobs"]["documents"] == 2);
    let mut why: Vec<_> = stage
        .listed(&["--reader", "search"])
        .into_iter()
        .map(|(id, key)| {
            let shown = stage.dlq(&["show", &id.to_string(), "--json"]).json();
            (key, shown["error"].as_str().unwrap().to_owned())
        })
        .collect();
    why.sort_unstable();
    let told = ["differs from it by `.` and `_` only", "Kafka's or a relay's own", "Kafka's or a relay's own"];
    assert_eq!(why.len(), told.len(), "{why:?}");
    for ((key, error), told) in why.iter().zip(told) {
        assert!(error.contains(told), "{key}: {error}");
    }
    drop(running);
}

#[tokio::test]
async fn an_event_for_a_topic_that_cannot_be_is_parked_and_holds_up_nothing() {
    an_event_without_a_topic_is_parked("at_least_once").await;
}

#[tokio::test]
async fn an_event_for_a_topic_that_cannot_be_is_parked_in_exactly_once_too() {
    an_event_without_a_topic_is_parked("exactly_once").await;
}
