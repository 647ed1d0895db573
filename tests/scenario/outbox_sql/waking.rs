//! Writers ring only for relays that sleep.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::{BOUND, events, refused, word};
use crate::support::postgres::{connect, fresh_outbox};
use crate::support::servers;

/// A connection that listens, and what it hears.
async fn listener(url: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let (heard, hearing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && heard.send(notification.payload().to_owned()).is_err()
            {
                break;
            }
        }
    });
    client.batch_execute("listen outbox").await.unwrap();
    (client, hearing)
}

/// What was heard up to a notification that is certainly sent.
async fn heard(client: &Client, hearing: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
    client.batch_execute("notify outbox, '-'").await.unwrap();
    let mut all = Vec::new();
    loop {
        match timeout(BOUND, hearing.recv()).await.unwrap().unwrap() {
            end if end == "-" => return all,
            name => all.push(name),
        }
    }
}

const SLEEP: &str = "select pg_try_advisory_lock(outbox.wake_class(), id)::text from outbox.subscriptions where name =";

#[tokio::test]
async fn a_writer_notifies_only_the_subscriptions_that_sleep_and_once_a_transaction() {
    let (client, url) = fresh_outbox().await;
    client
        .batch_execute(
            "create table t (id int primary key); select outbox.watch('t', 'jobs');
             create table r (id int, aggregatetype text, aggregateid text, payload text);
             select outbox.route('r', topic => 'jobs');
             insert into outbox.subscriptions (name, topics) values ('all', null), ('some', '{jobs}'), ('none', '{x}')",
        )
        .await
        .unwrap();
    let (sleeper, mut hearing) = listener(&url).await;
    let write = "begin; select outbox.emit('jobs', 'a'); select outbox.emit('jobs', 'b');
                 insert into t values (default_id()); select outbox.emit_many('jobs', array['a', 'c']); commit";
    client
        .batch_execute(
            "create sequence ids;
             create function default_id() returns int language sql as $$ select nextval('public.ids')::int $$",
        )
        .await
        .unwrap();
    client.batch_execute(write).await.unwrap();
    assert_eq!(heard(&client, &mut hearing).await, [] as [&str; 0], "nobody sleeps");

    for name in ["all", "none"] {
        assert_eq!(word(&sleeper, &format!("{SLEEP} '{name}'")).await, "true");
    }
    client.batch_execute(write).await.unwrap();
    assert_eq!(heard(&client, &mut hearing).await, ["all"], "one sleeps, one is awake, one wants another topic");
    for alone in [
        "select outbox.emit('jobs', 'a')",
        "insert into t values (default_id())",
        "delete from t",
        "truncate t",
        "insert into r values (1, 'x', 'k', ''), (2, 'x', null, '')",
    ] {
        client.batch_execute("insert into t values (0) on conflict do nothing").await.unwrap();
        heard(&client, &mut hearing).await;
        client.batch_execute(alone).await.unwrap();
        assert_eq!(heard(&client, &mut hearing).await, ["all"], "{alone}");
    }
    client.batch_execute("begin; select outbox.emit('jobs', 'a'); rollback").await.unwrap();
    assert_eq!(heard(&client, &mut hearing).await, [] as [&str; 0], "nothing was committed");
    client.batch_execute("set outbox.wake = off; select outbox.emit('jobs', 'a')").await.unwrap();
    assert_eq!(heard(&client, &mut hearing).await, [] as [&str; 0], "the writer asked not to ring");
}

#[tokio::test]
async fn what_was_rung_for_one_topic_or_taken_back_with_a_savepoint_is_rung_again_for_what_follows() {
    let (client, url) = fresh_outbox().await;
    let subscriptions =
        "insert into outbox.subscriptions (name, topics) values ('jobs', '{jobs}'), ('staff', '{staff}')";
    client.batch_execute(subscriptions).await.unwrap();
    let (sleeper, mut hearing) = listener(&url).await;
    for name in ["jobs", "staff"] {
        assert_eq!(word(&sleeper, &format!("{SLEEP} '{name}'")).await, "true");
    }
    for (write, expected) in [
        (
            "select outbox.emit('jobs', 'a'); select outbox.emit('staff', 'a'); select outbox.emit('jobs', 'b')",
            ["jobs", "staff"].as_slice(),
        ),
        ("savepoint s; select outbox.emit('jobs', 'a'); rollback to s; select outbox.emit('jobs', 'b')", &["jobs"]),
        ("select outbox.emit('jobs', 'a'); savepoint s; select outbox.emit('staff', 'a'); rollback to s", &["jobs"]),
        ("savepoint s; select outbox.emit_many('staff', array['a', 'b']); release s", &["staff"]),
    ] {
        client.batch_execute(&format!("begin; {write}; commit")).await.unwrap();
        assert_eq!(heard(&client, &mut hearing).await, expected, "{write}");
    }
}

/// Each way to write an event; the tables `t` and `s` are watched, for rows and for statements.
const WAYS: [&str; 4] = [
    "select outbox.emit('jobs', 'a')",
    "select outbox.emit_many('jobs', array['a'])",
    "insert into t select count(*) from t",
    "insert into s select count(*) from s",
];

const WATCHED: &str = "
    create table t (id int primary key); select outbox.watch('t', 'jobs');
    create table s (id int primary key); select outbox.watch('s', 'jobs', each => 'statement')";

#[tokio::test]
async fn a_relay_cannot_fall_asleep_while_a_writer_is_open() {
    let (writer, url) = fresh_outbox().await;
    let relay = connect(&url).await;
    relay.batch_execute("insert into outbox.subscriptions (name) values ('s')").await.unwrap();
    relay.batch_execute(WATCHED).await.unwrap();
    for way in WAYS {
        writer.batch_execute(&format!("begin; {way}")).await.unwrap();
        assert_eq!(word(&relay, &format!("{SLEEP} 's'")).await, "false", "{way}");
        writer.batch_execute("commit").await.unwrap();
        assert_eq!(word(&relay, &format!("{SLEEP} 's'")).await, "true", "{way}");
        relay.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    }
}

#[tokio::test]
async fn a_prepared_transaction_may_write_events_when_it_does_not_ring() {
    let (client, url) = fresh_outbox().await;
    let relay = connect(&url).await;
    relay.batch_execute("insert into outbox.subscriptions (name) values ('s')").await.unwrap();
    relay.batch_execute(WATCHED).await.unwrap();
    assert_eq!(word(&relay, &format!("{SLEEP} 's'")).await, "true");
    for (before, way) in WAYS.into_iter().enumerate() {
        let name = servers::unique("prepared");
        let (code, ..) = refused(&client, &format!("begin; {way}; prepare transaction '{name}'")).await;
        assert_eq!(code, "0A000", "PostgreSQL refuses a transaction that notified");
        let quiet = format!("rollback; begin; set local outbox.wake = off; {way}; prepare transaction '{name}'");
        client.batch_execute(&quiet).await.unwrap();
        assert_eq!(events(&relay).await.len(), before, "{way}");
        client.batch_execute(&format!("commit prepared '{name}'")).await.unwrap();
        assert_eq!(events(&relay).await.len(), before + 1, "{way}");
    }
}

#[tokio::test]
async fn doorbells_follow_the_subscriptions() {
    let (client, _) = fresh_outbox().await;
    let bells =
        "select coalesce(string_agg(subscription || ' ' || coalesce(topics::text, 'all'), ', ' order by id), '-')
                 from outbox.doorbells";
    for (change, expected) in [
        ("insert into outbox.subscriptions (name) values ('a')", "a all"),
        ("insert into outbox.subscriptions (name, topics) values ('b', '{t}')", "a all, b {t}"),
        ("update outbox.subscriptions set name = 'c', topics = '{u}' where name = 'a'", "c {u}, b {t}"),
        ("update outbox.subscriptions set last = 7", "c {u}, b {t}"),
        ("delete from outbox.subscriptions where name = 'c'", "b {t}"),
        ("delete from outbox.subscriptions", "-"),
    ] {
        client.batch_execute(change).await.unwrap();
        assert_eq!(word(&client, bells).await, expected, "{change}");
    }
}

/// What writers ask is a function that names every subscription: neither may leave out the other's.
#[tokio::test]
async fn subscriptions_that_come_at_the_same_time_are_both_rung() {
    let (first, url) = fresh_outbox().await;
    let second = connect(&url).await;
    let (sleeper, mut hearing) = listener(&url).await;
    first.batch_execute("begin; insert into outbox.subscriptions (name) values ('a')").await.unwrap();
    let coming = second.batch_execute("insert into outbox.subscriptions (name) values ('b')");
    let committing = async {
        sleep(Duration::from_millis(200)).await;
        first.batch_execute("commit").await
    };
    let (came, committed) = tokio::join!(coming, committing);
    came.and(committed).unwrap();
    for name in ["a", "b"] {
        assert_eq!(word(&sleeper, &format!("({SLEEP} '{name}')")).await, "true");
    }
    first.batch_execute("select outbox.emit('jobs', 'a')").await.unwrap();
    let mut rung = heard(&sleeper, &mut hearing).await;
    rung.sort();
    assert_eq!(rung, ["a", "b"]);
}
