//! `replay` on real servers, in both ways of delivery.

use std::time::Instant;

use serde_json::json;

use crate::runner::BOUND;
use crate::servers::Stage;

impl Stage {
    /// How many messages were ever published to its topic: what is committed, and no markers of transactions.
    fn published(&self, report: &serde_json::Value) -> u64 {
        assert_eq!(report["outbox"]["events_behind"], 0);
        report["bus"]["jobs"]["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|part| part["committed"].as_u64())
            .sum()
    }
}

async fn what_was_committed_since_a_time_is_published_again(delivery: &str) {
    let stage = Stage::migrated("kafka").await;
    let unknown = stage.runner.run(&["replay", "--since", "1h"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("\"search\""), "{}", unknown.all());
    let delivery = format!("relay.delivery={delivery}");
    let start = || stage.runner.start(&["run", "--set", &delivery, "--set", "relay.lease=2s"]);
    let settled = |documents: i64| {
        stage.until_status(|report| {
            report["indexes"]["jobs"]["documents"] == documents
                && report["outbox"]["events_behind"] == 0
                && report["bus"]["jobs"]["messages_behind"] == 0
        })
    };
    let running = start();
    let by = Instant::now() + BOUND;
    while stage.count("select count(*) from outbox.snapshots").await == 0 {
        assert!(Instant::now() < by, "no snapshot was kept");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stage.sql("insert into jobs select i, 'before' from generate_series(1, 100) i").await;
    settled(100);
    // The next snapshot that is kept, as if a minute had passed.
    stage
        .sql("update outbox.snapshots set taken_at = taken_at - interval '1 hour'; select outbox.note_snapshot()")
        .await;
    let between = stage.count("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await;
    let since = jiff::Timestamp::from_millisecond(between + 1).unwrap().to_string();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    stage.sql("insert into jobs select i, 'after' from generate_series(101, 150) i").await;
    let before = stage.published(&settled(150));

    let report = stage.runner.run(&["replay", "--since", &since, "--json"]).json();
    assert_eq!((&report["went_back"], &report["events"]), (&json!(true), &json!(50)), "{report}");
    let by = Instant::now() + BOUND;
    while stage.published(&settled(150)) < before + 50 {
        assert!(Instant::now() < by, "not all was published again");
    }
    if delivery.ends_with("at_least_once") {
        // Transactions leave marks of their own between the messages.
        assert_eq!(stage.published(&settled(150)), before + 50);
    }
    let told = stage.runner.run(&["replay", "--subscription", "search", "--since", "30m"]).out;
    assert!(told.contains("150 events to publish") && told.contains("search: went back to"), "{told}");
    let by = Instant::now() + BOUND;
    while stage.published(&settled(150)) < before + 200 {
        assert!(Instant::now() < by, "not all was published again");
    }
    drop(running);
}

#[tokio::test]
async fn what_was_committed_since_a_time_is_published_again_at_least_once() {
    what_was_committed_since_a_time_is_published_again("at_least_once").await;
}

#[tokio::test]
async fn what_was_committed_since_a_time_is_published_again_exactly_once() {
    what_was_committed_since_a_time_is_published_again("exactly_once").await;
}
