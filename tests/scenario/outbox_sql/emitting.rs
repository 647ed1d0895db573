//! What `outbox.emit` writes, refuses and orders.

use serde_json::value::RawValue;
use sync_core::ErrorKind;
use sync_core::adapter::postgres::{Emit, emit};
use tokio::time::timeout;

use super::{BOUND, events, number, refused, until_someone_waits, word};
use crate::support::postgres::{connect, fresh_outbox};

#[tokio::test]
async fn each_emit_of_a_key_returns_a_larger_version_and_writes_it_down() {
    let (client, _) = fresh_outbox().await;
    let first = number(&client, "outbox.emit('jobs', 'a')").await;
    let other = number(&client, "outbox.emit('jobs', 'b', 'DELETE')").await;
    let second =
        number(&client, "outbox.emit('jobs', 'a', payload => '{\"n\": 1}', headers => '{\"h\": \"x\"}')").await;
    assert!(first < other && other < second, "{first} {other} {second}");
    let rows = client
        .query("select key, version, action, payload::text, headers::text from outbox.events order by id", &[])
        .await
        .unwrap();
    type Row = (String, i64, String, Option<String>, Option<String>);
    let rows: Vec<Row> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
    assert_eq!(rows[0], ("a".into(), first, "INDEX".into(), None, None));
    assert_eq!(rows[1], ("b".into(), other, "DELETE".into(), None, None));
    assert_eq!(rows[2], ("a".into(), second, "INDEX".into(), Some("{\"n\": 1}".into()), Some("{\"h\": \"x\"}".into())));
    assert_eq!(number(&client, "select version from outbox.versions where key = 'a'").await, second);
}

#[tokio::test]
async fn what_is_no_event_is_refused_with_the_reason_and_writes_nothing() {
    let (client, _) = fresh_outbox().await;
    let long = format!("select outbox.emit('jobs', '{}')", "é".repeat(257));
    let wide = format!("select outbox.emit('{}', 'a')", "t".repeat(250));
    for (sql, code, message, hint) in [
        ("select outbox.emit(null, 'a')", "22004", "topic is null", ""),
        ("select outbox.emit('', 'a')", "22023", "'' is not a topic", "Kafka"),
        ("select outbox.emit('two words', 'a')", "22023", "'two words' is not a topic", "Kafka"),
        ("select outbox.emit('..', 'a')", "22023", "'..' is not a topic", "Kafka"),
        (wide.as_str(), "22023", "is not a topic", "1 to 249"),
        ("select outbox.emit('jobs', null)", "22004", "key for topic \"jobs\" is null", "Every part"),
        ("select outbox.emit('jobs', outbox.key('a', null))", "22004", "key for topic \"jobs\" is null", "Every part"),
        ("select outbox.emit('jobs', '')", "22023", "is empty", ""),
        (long.as_str(), "22023", "has 514 bytes", "512 bytes: the key becomes a document id"),
        ("select outbox.emit('jobs', 'a', 'index')", "22023", "unknown action 'index'", "'INDEX' or 'DELETE'"),
        ("select outbox.emit('jobs', 'a', null)", "22023", "unknown action NULL", ""),
        ("select outbox.emit('jobs', 'a', headers => '[]')", "22023", "flat JSON object of strings, not []", "{"),
        ("select outbox.emit('jobs', 'a', headers => '{\"a\": 1}')", "22023", "flat JSON object", "{"),
        ("select outbox.emit('jobs', 'a', headers => '{\"a\": null}')", "22023", "flat JSON object", "{"),
        ("select outbox.emit('jobs', 'a', headers => '{\"a\": [\"b\"]}')", "22023", "flat JSON object", "{"),
        ("select outbox.emit('jobs', 'a', headers => 'null')", "22023", "flat JSON object", "{"),
        ("select outbox.emit_many('jobs', array['a', null])", "22004", "key for topic \"jobs\" is null", ""),
        ("select outbox.emit_many('jobs', array['a', ''])", "22023", "is empty", ""),
        ("select outbox.emit_many('a b', array['a'])", "22023", "'a b' is not a topic", ""),
        ("select outbox.emit_many('jobs', array['a'], 'X')", "22023", "unknown action 'X'", ""),
    ] {
        let (said_code, said_message, said_hint) = refused(&client, sql).await;
        assert_eq!(said_code, code, "{sql}");
        assert!(said_message.contains(message), "{sql}: {said_message}");
        assert!(said_hint.contains(hint), "{sql}: {said_hint}");
    }
    assert_eq!(events(&client).await, []);
    client
        .batch_execute(&format!("select outbox.emit('jobs', '{}', headers => '{{}}')", "é".repeat(256)))
        .await
        .unwrap();
}

#[tokio::test]
async fn several_values_make_one_key_and_different_values_never_the_same() {
    let (client, _) = fresh_outbox().await;
    for (sql, key) in [
        ("outbox.key('a:b')", "a:b"),
        ("outbox.key('a', 'b')", "a:b"),
        ("outbox.key('a:', 'b')", "a\\::b"),
        ("outbox.key('a', ':b')", "a:\\:b"),
        ("outbox.key('a\\', 'b')", "a\\\\:b"),
        ("outbox.key('a\\:', 'b')", "a\\\\\\::b"),
        ("outbox.key(variadic array['', ''])", ":"),
    ] {
        assert_eq!(word(&client, sql).await, key, "{sql}");
    }
    assert_eq!(word(&client, "outbox.key('a', null) is null").await, "true");
}

/// The order of the keys is what keeps two of these from waiting for each other in a circle.
#[tokio::test]
async fn emitting_many_writes_each_key_once_and_in_the_order_of_the_keys() {
    let (client, _) = fresh_outbox().await;
    client.batch_execute("select outbox.emit_many('jobs', array['b', 'ä', 'a', 'B', 'b', 'a'])").await.unwrap();
    client.batch_execute("select outbox.emit_many('jobs', array['ä', 'b', 'B', 'a'], 'DELETE')").await.unwrap();
    assert_eq!(number(&client, "outbox.emit_many('jobs', '{}')").await, 0);
    let keys: Vec<_> = events(&client).await.into_iter().map(|(_, key, action)| format!("{key} {action}")).collect();
    let (index, delete) =
        (["B INDEX", "a INDEX", "b INDEX", "ä INDEX"], ["B DELETE", "a DELETE", "b DELETE", "ä DELETE"]);
    assert_eq!(keys, [index, delete].concat());
    let ordered =
        "select count(*) from (select version > lag(version) over (order by id) as grows from outbox.events) e
                   where grows";
    assert_eq!(number(&client, ordered).await, 7, "versions grow with the ids");
}

#[tokio::test]
async fn a_second_writer_of_a_key_waits_and_comes_after_the_first_in_id_and_version() {
    let (client, url) = fresh_outbox().await;
    // Two tables with no row in common, whose changes concern the same key.
    client
        .batch_execute(
            "create table one (id text primary key, n int); create table two (like one including all);
             insert into one values ('a', 0); insert into two values ('a', 0);
             select outbox.watch('one', 'jobs'), outbox.watch('two', 'jobs')",
        )
        .await
        .unwrap();
    for (firsts, seconds) in [
        ("select outbox.emit('jobs', 'a')", "select outbox.emit('jobs', 'a')"),
        ("select outbox.emit_many('jobs', array['a'])", "select outbox.emit_many('jobs', array['a'])"),
        ("update one set n = n + 1", "update two set n = n + 1"),
    ] {
        let (first, second) = (connect(&url).await, connect(&url).await);
        client.batch_execute("truncate outbox.versions, outbox.events").await.unwrap();
        // Written once before, and not: both ways into outbox.versions.
        for known in [false, true] {
            // The second transaction is older and has drawn numbers already; only the lock may decide.
            second.batch_execute("begin; select outbox.emit('jobs', 'other')").await.unwrap();
            first.batch_execute(&format!("begin; {firsts}")).await.unwrap();
            let waiting = second.batch_execute(seconds);
            let committing = async {
                until_someone_waits(&client).await;
                first.batch_execute(&format!("{firsts}; commit")).await.unwrap();
            };
            let (waited, ()) = timeout(BOUND, async { tokio::join!(waiting, committing) }).await.unwrap();
            waited.unwrap();
            second.batch_execute("commit").await.unwrap();
            let shrinking = "select count(*) from (
                                 select lead(version) over (order by id) > version as grows
                                 from outbox.events where key = 'a'
                             ) e where not grows";
            assert_eq!(number(&client, shrinking).await, 0, "{firsts}, known: {known}");
            let writer = async |key: &str| {
                let last = format!("select xid from outbox.events where key = '{key}' order by id desc limit 1");
                word(&client, &last).await
            };
            assert_eq!(writer("a").await, writer("other").await, "{firsts}, known: {known}");
        }
    }
}

#[tokio::test]
async fn what_a_savepoint_takes_back_is_not_in_the_outbox() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "begin; select outbox.emit('jobs', 'a'); savepoint s; select outbox.emit('jobs', 'b');
             rollback to s; select outbox.emit('jobs', 'c'); commit",
        )
        .await
        .unwrap();
    let keys: Vec<_> = events(&client).await.into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, ["a", "c"]);
}

#[tokio::test]
async fn the_trace_of_a_transaction_travels_in_the_headers_unless_they_hold_one() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create table t (id int primary key); select outbox.watch('t', 'rows');
             begin; set local outbox.traceparent = '00-1-2-01';
             select outbox.emit('jobs', 'a'); select outbox.emit('jobs', 'b', headers => '{\"x\": \"y\"}');
             select outbox.emit('jobs', 'c', headers => '{\"traceparent\": \"own\"}');
             select outbox.emit_many('jobs', array['d']); insert into t values (1); commit;
             select outbox.emit('jobs', 'e')",
        )
        .await
        .unwrap();
    let rows =
        client.query("select key, coalesce(headers::text, '') from outbox.events order by id", &[]).await.unwrap();
    let headers: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let own = "{\"traceparent\": \"00-1-2-01\"}";
    let expected = [
        ("a", own),
        ("b", "{\"x\": \"y\", \"traceparent\": \"00-1-2-01\"}"),
        ("c", "{\"traceparent\": \"own\"}"),
        ("d", own),
        ("1", own),
        ("e", ""),
    ];
    assert_eq!(headers, expected.map(|(key, text)| (key.to_owned(), text.to_owned())));
}

#[tokio::test]
async fn the_rust_helper_writes_in_the_callers_transaction() {
    let (mut client, _) = fresh_outbox().await;
    let payload = RawValue::from_string("{\"n\":1.50}".to_owned()).unwrap();
    let transaction = client.transaction().await.unwrap();
    let change = Emit::index("jobs", "a").payload(&payload).header("tenant", "7").header("quote", "\"");
    let first = emit(&transaction, &change).await.unwrap();
    let second = emit(&transaction, &Emit::delete("jobs", "a")).await.unwrap();
    assert!(second > first);
    transaction.commit().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    emit(&transaction, &Emit::index("jobs", "taken back")).await.unwrap();
    transaction.rollback().await.unwrap();
    let row = client
        .query_one(
            "select payload::text, headers ->> 'tenant', headers ->> 'quote', (select count(*) from outbox.events)
             from outbox.events order by id limit 1",
            &[],
        )
        .await
        .unwrap();
    let row: (String, String, String, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(row, ("{\"n\": 1.50}".into(), "7".into(), "\"".into(), 2));
    let error = emit(&client, &Emit::index("jobs", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contract);
    assert!(error.to_string().contains("the key for topic \"jobs\" is empty"), "{error}");
}
