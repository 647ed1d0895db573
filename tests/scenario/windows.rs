//! Windows between two snapshots, on a real PostgreSQL.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::event::Event;
use sync_core::port::{LedgerSource, Mark, Reader, Source};
use tokio::time::timeout;

use crate::support::postgres::{connect, database, fresh_outbox};
use crate::support::servers;

fn source(url: &str, batch_events: usize) -> PostgresSource {
    PostgresSource::new(database(url), SourceConfig::default().batch_events(batch_events))
}

async fn drain(reader: &mut dyn Reader) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(batch) = reader.next().await.unwrap() {
        events.extend(batch.events);
    }
    events
}

/// Ten minutes of one commit a second, as six hundred windows.
#[tokio::test]
async fn a_transaction_that_commits_after_many_windows_is_delivered_and_delays_nobody() {
    let (client, url) = fresh_outbox().await;
    let late = connect(&url).await;
    late.batch_execute("begin; select outbox.emit('jobs', 'late ' || n) from generate_series(1, 100) n").await.unwrap();
    let mut feed = source(&url, 1_000).open().await.unwrap();
    for window in 0..600 {
        client.execute("select outbox.emit('jobs', $1)", &[&format!("k{window}")]).await.unwrap();
        let batch = feed.reader.next().await.unwrap().expect("committed, so it is there");
        assert_eq!(batch.events.len(), 1, "window {window}");
        feed.cursor.advance(&batch.position).await.unwrap();
    }
    late.batch_execute("commit").await.unwrap();
    let events = drain(&mut *feed.reader).await;
    let keys: BTreeSet<_> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!((events.len(), keys.len()), (100, 100));
    assert!(keys.iter().all(|key| key.starts_with("late ")));
}

#[tokio::test]
async fn one_transaction_of_many_events_is_read_in_batches_and_resumed_inside() {
    let (client, url) = fresh_outbox().await;
    let total = 20_000 * i64::try_from(servers::scale()).unwrap();
    client
        .execute(
            "select outbox.emit_many('jobs', array(select 'k' || n from generate_series(1, $1::bigint) n))",
            &[&total],
        )
        .await
        .unwrap();
    let mut read = BTreeSet::new();
    // Each life of the reader takes a few batches, and dies in the middle of the window.
    loop {
        let mut feed = source(&url, 700).open().await.unwrap();
        let mut ended = false;
        for _ in 0..7 {
            let Some(batch) = feed.reader.next().await.unwrap() else {
                ended = true;
                break;
            };
            assert!(batch.events.len() <= 700);
            for event in batch.events {
                assert!(read.insert(event.id), "event {} came twice although it was recorded", event.id);
            }
            feed.cursor.advance(&batch.position).await.unwrap();
        }
        if ended {
            break;
        }
    }
    assert_eq!(i64::try_from(read.len()).unwrap(), total);
}

#[tokio::test]
async fn a_subscription_reads_only_its_topics() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("select outbox.emit('jobs', 'a'), outbox.emit('other', 'b')").await.unwrap();
    let config = SourceConfig::default().topics(vec!["other".to_owned()]);
    let source = PostgresSource::new(database(&url), config);
    let mut feed = source.open().await.unwrap();
    let events = drain(&mut *feed.reader).await;
    assert_eq!(events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(source.lag().await.unwrap().events, 1);
}

#[tokio::test]
async fn a_writer_rings_only_while_the_reader_sleeps() {
    let (client, url) = fresh_outbox().await;
    let mut feed = source(&url, 10).open().await.unwrap();
    assert!(drain(&mut *feed.reader).await.is_empty());
    let held = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' \
                and database = (select oid from pg_database where datname = current_database())";
    let asleep = async || client.query_one(held, &[]).await.unwrap().get::<_, i64>(0) > 0;
    assert!(!asleep().await, "a reader that reads is awake");
    feed.reader.wait().await.unwrap();
    assert!(asleep().await, "a reader that has caught up says so");
    let rung = async {
        assert!(feed.reader.next().await.unwrap().is_none(), "it looks once more");
        feed.reader.wait().await.unwrap();
        drain(&mut *feed.reader).await
    };
    let write = client.batch_execute("select outbox.emit('jobs', 'a')");
    let (events, written) = timeout(Duration::from_secs(10), async { tokio::join!(rung, write) }).await.unwrap();
    written.unwrap();
    assert_eq!(events.len(), 1);
    assert!(asleep().await, "one event alone does not have it give up its lock: the next may ring as well");
    for key in ["b", "c"] {
        client.batch_execute(&format!("select outbox.emit('jobs', '{key}')")).await.unwrap();
        assert_eq!(feed.reader.next().await.unwrap().unwrap().events.len(), 1);
    }
    assert!(!asleep().await, "a reader that finds something time after time is awake again");
}

#[tokio::test]
async fn an_outbox_restored_into_another_database_is_not_read() {
    let (client, url) = fresh_outbox().await;
    drop(source(&url, 10).open().await.unwrap());
    client.batch_execute("update outbox.history set system_identifier = system_identifier + 1").await.unwrap();
    let error = source(&url, 10).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    assert!(error.to_string().contains("outbox.adopt_history()"), "{error}");
    client.batch_execute("select outbox.emit('jobs', 'a'); select * from outbox.adopt_history()").await.unwrap();
    let mut feed = source(&url, 10).open().await.unwrap();
    assert_eq!((feed.epoch, drain(&mut *feed.reader).await.len()), (1, 1), "adopted, it is published again");
}

#[tokio::test]
async fn after_a_promotion_versions_go_on_in_a_new_epoch() {
    let (client, url) = fresh_outbox().await;
    assert_eq!(source(&url, 10).open().await.unwrap().epoch, 0);
    client.batch_execute("update outbox.history set timeline = timeline - 1").await.unwrap();
    assert_eq!(source(&url, 10).open().await.unwrap().epoch, 1);
    assert_eq!(source(&url, 10).open().await.unwrap().epoch, 1, "once is enough");
}

#[tokio::test]
async fn a_subscription_that_wants_more_topics_gets_their_earlier_events_too() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("select outbox.emit('jobs', 'a'), outbox.emit('other', 'b')").await.unwrap();
    let wanting = |topics: Option<&[&str]>| {
        let topics = topics.map(|topics| topics.iter().map(|&topic| topic.to_owned()).collect::<Vec<_>>());
        PostgresSource::new(database(&url), SourceConfig::default().topics(topics))
    };
    let read = async |topics: Option<&[&str]>| {
        let mut feed = wanting(topics).open().await.unwrap();
        let mut keys = Vec::new();
        while let Some(batch) = feed.reader.next().await.unwrap() {
            feed.cursor.advance(&batch.position).await.unwrap();
            keys.extend(batch.events.into_iter().map(|event| event.key));
        }
        keys
    };
    assert_eq!(read(Some(&["jobs"])).await, ["a"]);
    assert_eq!(read(Some(&["jobs", "other"])).await, ["a", "b"], "repeated, but not lost");
    assert!(read(Some(&["other"])).await.is_empty(), "fewer topics begin nothing anew");
    assert_eq!(read(None).await, ["a", "b"], "all topics are more than some");
    assert!(read(None).await.is_empty());
}

/// A crash could take such a commit back after it was published, and give its version out again.
#[tokio::test]
async fn a_transaction_that_writes_an_event_is_durable_once_committed() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create table t (id int primary key); select outbox.watch('t', 'jobs');
             create table s (id int primary key); select outbox.watch('s', 'jobs', each => 'statement');
             set synchronous_commit = off",
        )
        .await
        .unwrap();
    for write in [
        "select outbox.emit('jobs', 'a')",
        "select outbox.emit_many('jobs', array['a'])",
        "insert into t values (1)",
        "insert into s values (1)",
    ] {
        client.batch_execute("begin").await.unwrap();
        client.batch_execute(write).await.unwrap();
        let setting: String = client.query_one("show synchronous_commit", &[]).await.unwrap().get(0);
        assert_eq!(setting, "local", "{write}");
        client.batch_execute("commit").await.unwrap();
    }
    let setting: String = client.query_one("show synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!(setting, "off", "only for those transactions");
}

/// The lock that means "asleep" is on the session that streams the window.
#[tokio::test]
async fn a_sleeping_reader_is_not_stuck_by_a_window_of_many_batches() {
    let (client, url) = fresh_outbox().await;
    let mut feed = source(&url, 10).open().await.unwrap();
    assert!(drain(&mut *feed.reader).await.is_empty());
    feed.reader.wait().await.unwrap();
    let emit = "select outbox.emit_many('jobs', array(select 'k' || n from generate_series(1, 20000) n))";
    client.batch_execute(emit).await.unwrap();
    let events = timeout(Duration::from_secs(60), drain(&mut *feed.reader)).await.expect("it goes on");
    assert_eq!(events.len(), 20_000);
}

#[tokio::test]
async fn the_ledger_of_windows_stays_small_however_many_pass_and_keeps_what_a_mark_may_name() {
    let (client, url) = fresh_outbox().await;
    let claim = source(&url, 100).claim().await.unwrap();
    let mut resumed = claim.unresumed.resume(None).await.unwrap();
    let count = "select count(*) from outbox.windows";
    let mut most = 0;
    let mut held: Option<Mark> = None;
    for window in 0..200 {
        client.execute("select outbox.emit('jobs', $1)", &[&format!("k{window}")]).await.unwrap();
        // Another subscription draws from the same numbers, in turn.
        client.execute("select nextval('outbox.window_seq')", &[]).await.unwrap();
        let batch = resumed.reader.next().await.unwrap().expect("committed, so it is there");
        // Until this batch is published, Kafka holds the mark before it.
        for mark in held.iter().chain(&batch.mark) {
            let known = "select count(*) from outbox.windows where n = $1 and token::text = $2";
            let known: i64 = client.query_one(known, &[&mark.window, &mark.token]).await.unwrap().get(0);
            assert_eq!(known, 1, "window {window}");
        }
        let mut position = batch.position.clone();
        if window % 2 == 0 {
            // As a relay does that has read a while without finding an event.
            position.lo = client.query_one("select pg_current_snapshot()::text", &[]).await.unwrap().get(0);
        }
        claim.cursor.advance(&position).await.unwrap();
        most = most.max(client.query_one(count, &[]).await.unwrap().get::<_, i64>(0));
        held = batch.mark;
    }
    assert!((1..=20).contains(&most), "{most} windows");
}

#[tokio::test]
async fn a_ledger_is_struck_out_with_the_history_it_belongs_to() {
    let (client, url) = fresh_outbox().await;
    client.execute("select outbox.emit('jobs', 'a')", &[]).await.unwrap();
    let claim = source(&url, 100).claim().await.unwrap();
    let mut resumed = claim.unresumed.resume(None).await.unwrap();
    let mark = resumed.reader.next().await.unwrap().unwrap().mark;
    // As another cluster may have given it: a snapshot of this one's future.
    client.execute("update outbox.windows set hi = '9000000000:9000000000:'", &[]).await.unwrap();
    client.execute("select outbox.adopt_history()", &[]).await.unwrap();
    let claim = source(&url, 100).claim().await.unwrap();
    let mut resumed = claim.unresumed.resume(mark).await.unwrap();
    assert_eq!(drain(&mut *resumed.reader).await.len(), 1, "all retained events come again");
    assert_eq!(resumed.epoch, 1);
}

#[tokio::test]
async fn a_later_epoch_begins_once_and_only_when_it_is_later() {
    let (client, url) = fresh_outbox().await;
    let opened = source(&url, 1).open().await.unwrap();
    assert_eq!(opened.epoch, 0);
    for (least, epoch) in [(0, 0), (4, 4), (4, 4), (2, 4)] {
        let raised: i32 = client.query_one("select outbox.raise_epoch($1)", &[&least]).await.unwrap().get(0);
        assert_eq!(raised, epoch);
    }
    assert_eq!(source(&url, 1).open().await.unwrap().epoch, 4);
}
