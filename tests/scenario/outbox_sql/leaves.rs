//! Leaves are made ahead of time, beside writers.

use sync_core::ErrorKind;
use sync_core::adapter::postgres::{PostgresProjection, PostgresSource, ProjectionConfig, SourceConfig};
use sync_core::port::{Projection, Source, Versions};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{BOUND, events, number, refused, until_someone_waits, word};
use crate::support::postgres::{connect, database, fresh_outbox};

const LEAVES: &str = "select count(*) from pg_partition_tree('outbox.events') where isleaf";

#[tokio::test]
async fn leaves_are_made_beside_open_writers_and_only_once() {
    let (client, url) = fresh_outbox().await;
    let (writer, reader) = (connect(&url).await, connect(&url).await);
    assert_eq!(number(&client, LEAVES).await, 9, "the migrations make today's, a week's, and there is the default");
    writer.batch_execute("begin; select outbox.emit('jobs', 'a')").await.unwrap();
    reader.batch_execute("begin; declare c cursor for select * from outbox.events_default; fetch c").await.unwrap();
    reader.batch_execute("commit").await.unwrap();
    let made = timeout(BOUND, number(&client, "outbox.maintain(20)")).await.expect("it waits for no open writer");
    assert_eq!(made, 13);
    assert_eq!(number(&client, "outbox.maintain(20)").await, 0);
    writer.batch_execute("select outbox.emit('jobs', 'b'); commit").await.unwrap();
    assert_eq!(number(&client, "select count(*) from outbox.events_default").await, 0);
    assert_eq!(events(&client).await.len(), 2);
}

#[tokio::test]
async fn several_maintainers_at_once_make_each_leaf_once() {
    let (client, url) = fresh_outbox().await;
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(connect(&url).await);
    }
    let made = futures::future::join_all(made.iter().map(|client| number(client, "outbox.maintain(30)"))).await;
    assert_eq!(made.iter().sum::<i64>(), 23, "{made:?}");
    assert_eq!(number(&client, LEAVES).await, 32);
}

#[tokio::test]
async fn without_leaves_events_go_to_the_default_leaf_and_later_leaves_lose_none() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "do $$ declare leaf regclass; begin
                 for leaf in select relid from pg_partition_tree('outbox.events')
                              where isleaf and relid <> 'outbox.events_default'::regclass
                 loop execute format('drop table %s', leaf); end loop;
             end $$;
             select outbox.emit('jobs', 'a')",
        )
        .await
        .unwrap();
    assert_eq!(number(&client, "select count(*) from outbox.events_default").await, 1);
    assert_eq!(number(&client, "outbox.maintain(3)").await, 3, "every day but the one that has begun");
    client.batch_execute("select outbox.emit('jobs', 'b')").await.unwrap();
    assert_eq!(number(&client, "outbox.maintain(3)").await, 0);
    let keys: Vec<_> = events(&client).await.into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, ["a", "b"]);
}

#[tokio::test]
async fn a_writer_in_the_default_leaf_delays_new_leaves_and_not_for_long() {
    let (client, url) = fresh_outbox().await;
    let writer = connect(&url).await;
    client
        .batch_execute(
            "do $$ declare leaf regclass; begin
                 for leaf in select relid from pg_partition_tree('outbox.events')
                              where isleaf and relid <> 'outbox.events_default'::regclass
                 loop execute format('drop table %s', leaf); end loop;
             end $$",
        )
        .await
        .unwrap();
    writer.batch_execute("begin; select outbox.emit('jobs', 'a')").await.unwrap();
    let made = timeout(BOUND, number(&client, "outbox.maintain(3)")).await.expect("it gives up");
    assert_eq!(made, 0);
    writer.batch_execute("commit").await.unwrap();
    assert_eq!(number(&client, "outbox.maintain(3)").await, 3);
    assert_eq!(events(&client).await.len(), 1);
    assert_eq!(refused(&client, "select outbox.maintain(-1)").await.0, "22023");
}

/// Leaves of earlier days, the oldest first, each with events; returns their names.
async fn with_days_of_before(client: &Client, days: i32) -> Vec<String> {
    let mut names = Vec::new();
    for day in (1..=days).rev() {
        let made = format!(
            "select to_char((now() at time zone 'UTC')::date - {day}, 'YYYYMMDD'), ((now() at time zone 'UTC')::date - {day})::text,
                    ((now() at time zone 'UTC')::date - {day} + 1)::text"
        );
        let row = client.query_one(&made, &[]).await.unwrap();
        let (name, from, to): (String, String, String) =
            (format!("events_{}", row.get::<_, String>(0)), row.get(1), row.get(2));
        client
            .batch_execute(&format!(
                "create table outbox.{name} (like outbox.events including all excluding identity);
                 alter table outbox.events attach partition outbox.{name} for values from ('{from} UTC') to ('{to} UTC');
                 insert into outbox.events (topic, key, version, action, created_at)
                 select 'jobs', 'key', 1, 'INDEX', timestamptz '{from} 12:00 UTC' from generate_series(1, 10)"
            ))
            .await
            .unwrap();
        names.push(name);
    }
    names
}

async fn emptied(client: &Client) -> Option<String> {
    client.query_one("select outbox.empty_leaf(interval '7 days')", &[]).await.unwrap().get(0)
}

/// Lets a subscription pass everything there is, whatever transactions other databases of the server have open.
async fn pass(client: &Client, subscription: &str) {
    let pass = "insert into outbox.subscriptions (name, lo)
                select $1, x || ':' || x || ':' from pg_snapshot_xmax(pg_current_snapshot()) x
                on conflict (name) do update set lo = excluded.lo";
    client.execute(pass, &[&subscription]).await.unwrap();
}

#[tokio::test]
async fn old_leaves_are_emptied_and_removed_once_every_subscription_has_passed_them() {
    let (client, _) = fresh_outbox().await;
    let days = with_days_of_before(&client, 10).await;
    assert_eq!(emptied(&client).await, None, "nobody has subscribed yet: everything is still wanted");
    client.batch_execute("insert into outbox.subscriptions (name) values ('late')").await.unwrap();
    pass(&client, "search").await;
    assert_eq!(emptied(&client).await, None, "one has passed them, the other has not");
    let held = "select string_agg(distinct h, ',') from outbox.retained(), unnest(not_passed_by) h";
    assert_eq!(word(&client, held).await, "late");
    pass(&client, "late").await;
    // Eight days ago ended seven days ago, or a little more: three days are older than that.
    let mut done = Vec::new();
    while let Some(leaf) = emptied(&client).await {
        done.push(leaf);
    }
    let mut expected: Vec<_> = days[..3].iter().flat_map(|day| [day.clone(), day.clone()]).collect();
    expected.sort();
    done.sort();
    assert_eq!(done, expected, "each is emptied, and then removed");
    assert_eq!(number(&client, "select count(*) from outbox.events").await, 70);
    assert_eq!(number(&client, "select count(*) from outbox.retained() where not_passed_by = '{}'").await, 7);
}

#[tokio::test]
async fn old_leaves_go_also_where_those_of_the_days_ahead_cannot_be_made() {
    let (client, url) = fresh_outbox().await;
    with_days_of_before(&client, 10).await;
    pass(&client, "search").await;
    client.batch_execute("drop function outbox.maintain(int)").await.unwrap();
    let error = PostgresSource::new(database(&url), SourceConfig::default()).maintain().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("outbox.maintain"), "{error}");
    assert_eq!(number(&client, "select count(*) from outbox.retained()").await, 7);
}

#[tokio::test]
async fn emptying_waits_for_no_writer_and_no_writer_for_it() {
    let (client, url) = fresh_outbox().await;
    let days = with_days_of_before(&client, 9).await;
    pass(&client, "search").await;
    let (writer, reader) = (connect(&url).await, connect(&url).await);
    writer.batch_execute("begin; select outbox.emit('jobs', 'open')").await.unwrap();
    let mut reading = "begin; declare c cursor for select * from outbox.".to_owned() + &days[0];
    reading.push_str("; fetch c");
    reader.batch_execute(&reading).await.unwrap();
    let other = timeout(BOUND, emptied(&client)).await.expect("it gives up on the one that is read");
    assert_eq!(other.as_deref(), Some(days[1].as_str()));
    // Removing would need every writer to wait; with one at work it is left for later.
    assert_eq!(timeout(BOUND, emptied(&client)).await.expect("it waits for nobody"), None);
    timeout(BOUND, writer.batch_execute("select outbox.emit('jobs', 'more'); commit")).await.unwrap().unwrap();
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(emptied(&client).await.as_deref(), Some(days[0].as_str()));
    for day in &days[..2] {
        assert_eq!(emptied(&client).await.as_deref(), Some(day.as_str()), "removed");
    }
    assert_eq!(emptied(&client).await, None);
    assert_eq!(number(&client, "select count(*) from outbox.events where key in ('open', 'more')").await, 2);
}

#[tokio::test]
async fn a_subscription_nobody_runs_any_more_can_be_forgotten_and_one_at_work_cannot() {
    let (client, _) = fresh_outbox().await;
    with_days_of_before(&client, 9).await;
    pass(&client, "search").await;
    client
        .batch_execute(
            "insert into outbox.subscriptions (name, lease_until) values ('stuck', now() - interval '9 days'),
                 ('at work', now() + interval '10 seconds')",
        )
        .await
        .unwrap();
    assert_eq!(emptied(&client).await, None);
    let (state, said, _) = refused(&client, "select outbox.forget_subscription('at work')").await;
    assert!(state == "55006" && said.contains("at work"), "{state} {said}");
    for (name, was_there) in [("stuck", "true"), ("stuck", "false"), ("nobody", "false")] {
        assert_eq!(word(&client, &format!("select outbox.forget_subscription('{name}')::text")).await, was_there);
    }
    client.batch_execute("delete from outbox.subscriptions where name = 'at work'").await.unwrap();
    assert!(emptied(&client).await.is_some());
    assert_eq!(number(&client, "select count(*) from outbox.doorbells").await, 1);
}

#[tokio::test]
async fn what_a_transaction_commits_while_its_leaf_is_waited_for_is_kept() {
    let (client, url) = fresh_outbox().await;
    let days = with_days_of_before(&client, 9).await;
    let late = connect(&url).await;
    let insert = format!(
        "begin; insert into outbox.events (topic, key, version, action, created_at)
         select topic, 'late', 2, action, created_at from outbox.{} limit 1",
        days[0]
    );
    late.batch_execute(&insert).await.unwrap();
    let open = number(&late, "select pg_current_xact_id()::text::bigint").await;
    let all_but_late = format!("{open}:{}:{open}", open + 1);
    client
        .execute("insert into outbox.subscriptions (name, lo) values ('search', $1)", &[&all_but_late])
        .await
        .unwrap();
    // It waits for the open transaction, whose event nobody has passed; the other day is passed.
    let (emptied, ()) = tokio::join!(emptied(&client), async {
        until_someone_waits(&late).await;
        late.batch_execute("commit").await.unwrap();
    });
    assert_eq!(emptied.as_deref(), Some(days[1].as_str()));
    assert_eq!(number(&client, "select count(*) from outbox.events where key = 'late'").await, 1);
}

async fn purged(client: &Client) -> i64 {
    client.query_one("select outbox.purge_versions(interval '7 days')", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn versions_go_of_keys_whose_deletion_is_old_and_published_and_the_last_that_was_said_of_them() {
    let (client, url) = fresh_outbox().await;
    let leaves = with_days_of_before(&client, 10).await;
    // Deleted ten days ago; deleted then and written again since; deleted yesterday; written ten days ago; of another topic.
    client
        .batch_execute(&format!(
            "insert into outbox.versions (topic, key, version)
             values ('jobs', 'gone', 50), ('jobs', 'back', 61), ('jobs', 'late', 70), ('jobs', 'here', 80), ('people', 'gone', 90);
             insert into outbox.{} (id, topic, key, version, action, created_at)
             select 1000 + n, e.topic, e.key, e.version, e.action, (select min(created_at) from outbox.{})
               from (values (1, 'jobs', 'gone', 49, 'INDEX'), (2, 'jobs', 'gone', 50, 'DELETE'),
                            (3, 'jobs', 'back', 60, 'DELETE'), (4, 'jobs', 'here', 80, 'INDEX'),
                            (5, 'people', 'gone', 90, 'DELETE')) as e (n, topic, key, version, action);
             insert into outbox.{} (id, topic, key, version, action, created_at)
             select 2000, 'jobs', 'late', 70, 'DELETE', (select min(created_at) from outbox.{})",
            leaves[0], leaves[0], leaves[9], leaves[9]
        ))
        .await
        .unwrap();
    assert_eq!(purged(&client).await, 0, "before anybody has subscribed");
    client.batch_execute("insert into outbox.subscriptions (name) values ('search')").await.unwrap();
    assert_eq!(purged(&client).await, 0, "it has yet to publish them");
    pass(&client, "search").await;
    // Somebody writes about one of them just now.
    let writer = connect(&url).await;
    writer.batch_execute("begin; select outbox.emit('people', 'gone')").await.unwrap();
    let left = timeout(BOUND, purged(&client)).await.expect("it waits for no writer");
    assert_eq!(left, 1);
    writer.batch_execute("commit").await.unwrap();
    assert_eq!(purged(&client).await, 0);
    let keys = "select string_agg(topic || ' ' || key, ',' order by topic, key) from outbox.versions";
    assert_eq!(word(&client, keys).await, "jobs back,jobs here,jobs late,people gone");
    assert_eq!(word(&client, "select string_agg(topic || ' ' || version, ',') from outbox.purged").await, "jobs 50");
    // Whatever an index holds of it, the deletion is newer: a message about it may come after its version has gone.
    let config = ProjectionConfig::new(
        "jobs",
        "jobs",
        "select key, '{}'::jsonb as document from (values ('here'), ('unheard of')) as rows (key)",
    );
    let projection = PostgresProjection::new(database(&url), config);
    projection.agree(None).await.unwrap();
    let keys = ["gone", "late", "here", "unheard of"].map(str::to_owned);
    let loaded = projection.load(&keys).await.unwrap();
    let loaded: Vec<_> = loaded.iter().map(|row| (row.document.is_some(), row.version.external())).collect();
    assert_eq!(loaded, [(false, 50), (false, 70), (true, 80), (true, 0)]);
    let states = projection.states(&keys).await.unwrap();
    let versions: Vec<_> = states.iter().map(|state| state.version.external()).collect();
    assert_eq!(versions, [50, 70, 80, 0]);
    // A key that comes back never starts low again.
    assert!(number(&client, "select outbox.emit('jobs', 'gone')").await > 0);
    assert_eq!(refused(&client, "select outbox.purge_versions(interval '-1 day')").await.0, "22023");
}
