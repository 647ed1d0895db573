//! Leaves are made ahead of time, beside writers.

use tokio::time::timeout;

use super::{BOUND, events, number, refused};
use crate::support::postgres::{connect, fresh_outbox};

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
