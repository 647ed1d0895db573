//! Old events on real servers: given up once they are published, and told of where somebody holds them back.

use serde_json::json;

use crate::servers::Stage;

const OLD: &str = "
do $$
declare
    day timestamptz := date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '10 days';
begin
    create table outbox.events_old (like outbox.events including all excluding identity);
    execute format('alter table outbox.events_old rename to %I', 'events_' || to_char(day at time zone 'UTC', 'YYYYMMDD'));
    execute format('alter table outbox.events attach partition outbox.%I for values from (%L) to (%L)',
                   'events_' || to_char(day at time zone 'UTC', 'YYYYMMDD'), day, day + interval '1 day');
    insert into outbox.events (topic, key, version, action, created_at)
    select 'TOPIC', n::text, n, 'INDEX', day + interval '1 hour' from generate_series(1, 1000) n;
end $$";

#[tokio::test]
async fn events_older_than_the_retention_go_once_they_are_published_and_a_stuck_subscription_is_named() {
    let stage = Stage::migrated("direct").await;
    stage.sql(&OLD.replace("TOPIC", &stage.name)).await;
    stage.sql("insert into outbox.subscriptions (name) values ('reporting')").await;
    let mut running = stage.runner.start(&["run"]);
    running.until_told("it holds back events that are older than the retention");
    let report = stage.until_status(|report| report["outbox"]["events_behind"] == 0);
    assert!(report["retained"]["held_back"]["reporting"].as_i64().is_some_and(|bytes| bytes > 0), "{report}");
    let told = stage.runner.run(&["status"]).out;
    assert!(told.contains("outbox.forget_subscription('reporting')") && told.contains("1 day, "), "{told}");
    // What follows them closes the window they were in.
    stage.sql("insert into jobs values (1, 'today')").await;
    stage.until_status(|report| report["indexes"]["jobs"]["documents"] == 1);
    drop(running);

    stage.sql("select outbox.forget_subscription('reporting')").await;
    let mut running = stage.runner.start(&["run"]);
    running.until_told("emptied, or removed");
    let report = stage.until_status(|report| report["retained"]["days"] == 1);
    assert_eq!(report["retained"]["held_back"], json!({}));
    drop(running);
    let kept = stage.runner.run(&["run", "--set", "relay.retention=1m"]);
    assert!(kept.code == Some(2) && kept.err.contains("relay.retention"), "{}", kept.all());
}
