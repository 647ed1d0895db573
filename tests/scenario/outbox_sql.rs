//! The outbox as SQL sees it: emitting, waking, histories, leaves and migrations, on a real PostgreSQL.

use std::future::poll_fn;
use std::time::Duration;

use serde_json::value::RawValue;
use sync_core::ErrorKind;
use sync_core::adapter::postgres::{Emit, emit, migrate, pending};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls};

use crate::support::postgres::{connect, fresh_database, fresh_outbox};
use crate::support::servers;

const BOUND: Duration = Duration::from_secs(30);

/// Everything in the outbox: topic, key and action, by id.
async fn events(client: &Client) -> Vec<(String, String, String)> {
    let rows = client.query("select topic, key, action from outbox.events order by id", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(&format!("select ({sql})::bigint"), &[]).await.unwrap().get(0)
}

async fn word(client: &Client, sql: &str) -> String {
    client.query_one(&format!("select ({sql})::text"), &[]).await.unwrap().get(0)
}

/// SQLSTATE, message and hint.
fn said(error: &Error) -> (String, String, String) {
    let error = error.as_db_error().expect("the server's own words");
    (error.code().code().to_owned(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

async fn refused(client: &Client, sql: &str) -> (String, String, String) {
    said(&client.batch_execute(sql).await.expect_err(sql))
}

/// Waits until a session of this database waits for a lock, looking through another connection.
async fn until_someone_waits(client: &Client) {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let looking = async { while number(client, waiting).await == 0 {} };
    timeout(BOUND, looking).await.expect("somebody waits for a lock");
}

// Emitting ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn each_emit_of_a_key_returns_a_larger_version_and_writes_it_down() {
    let (client, _) = fresh_outbox().await;
    let first = number(&client, "outbox.emit('jobs', 'a')").await;
    let other = number(&client, "outbox.emit('jobs', 'b', 'DELETE')").await;
    let second = number(&client, "outbox.emit('jobs', 'a', payload => '{\"n\": 1}', headers => '{\"h\": \"x\"}')").await;
    assert!(first < other && other < second, "{first} {other} {second}");
    let rows = client
        .query("select key, version, action, payload::text, headers::text from outbox.events order by id", &[])
        .await
        .unwrap();
    let rows: Vec<(String, i64, String, Option<String>, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
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
    client.batch_execute(&format!("select outbox.emit('jobs', '{}', headers => '{{}}')", "é".repeat(256))).await.unwrap();
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
    let (index, delete) = (["B INDEX", "a INDEX", "b INDEX", "ä INDEX"], ["B DELETE", "a DELETE", "b DELETE", "ä DELETE"]);
    assert_eq!(keys, [index, delete].concat());
    let ordered = "select count(*) from (select version > lag(version) over (order by id) as grows from outbox.events) e
                   where grows";
    assert_eq!(number(&client, ordered).await, 7, "versions grow with the ids");
}

#[tokio::test]
async fn a_second_writer_of_a_key_waits_and_comes_after_the_first_in_id_and_version() {
    let (client, url) = fresh_outbox().await;
    for how in ["outbox.emit('jobs', 'a')", "outbox.emit_many('jobs', array['a'])"] {
        let (first, second) = (connect(&url).await, connect(&url).await);
        // Written once before, and not: both ways into outbox.versions.
        client.batch_execute("truncate outbox.versions, outbox.events").await.unwrap();
        for known in [false, true] {
            // The second transaction is older and has drawn numbers already; only the lock may decide.
            second.batch_execute("begin; select outbox.emit('jobs', 'other')").await.unwrap();
            first.batch_execute(&format!("begin; select {how}")).await.unwrap();
            let statement = format!("select {how}");
            let waiting = second.batch_execute(&statement);
            let committing = async {
                until_someone_waits(&client).await;
                first.batch_execute(&format!("select {how}; commit")).await.unwrap();
            };
            let (waited, ()) = timeout(BOUND, async { tokio::join!(waiting, committing) }).await.unwrap();
            waited.unwrap();
            second.batch_execute("commit").await.unwrap();
            let rows = "select count(*) from (
                            select id, version, xid,
                                   lead(version) over (order by id) > version as grows from outbox.events where key = 'a'
                        ) e where not grows";
            assert_eq!(number(&client, rows).await, 0, "{how}, known: {known}");
            let last = "select xid::text from outbox.events where key = 'a' order by id desc limit 1";
            let seconds = "select xid::text from outbox.events where key = 'other' order by id desc limit 1";
            assert_eq!(word(&client, last).await, word(&client, seconds).await, "{how}, known: {known}");
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
    let rows = client.query("select key, coalesce(headers::text, '') from outbox.events order by id", &[]).await.unwrap();
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

// Waking -----------------------------------------------------------------------------------------------------------

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
    for alone in ["select outbox.emit('jobs', 'a')", "insert into t values (default_id())", "delete from t", "truncate t"] {
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
async fn a_relay_cannot_fall_asleep_while_a_writer_is_open() {
    let (writer, url) = fresh_outbox().await;
    let relay = connect(&url).await;
    relay.batch_execute("insert into outbox.subscriptions (name) values ('s')").await.unwrap();
    for open in ["select outbox.emit('jobs', 'a')", "select outbox.emit_many('jobs', array['a'])"] {
        writer.batch_execute(&format!("begin; {open}")).await.unwrap();
        assert_eq!(word(&relay, &format!("{SLEEP} 's'")).await, "false", "{open}");
        writer.batch_execute("commit").await.unwrap();
        assert_eq!(word(&relay, &format!("{SLEEP} 's'")).await, "true", "{open}");
        relay.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    }
}

#[tokio::test]
async fn a_prepared_transaction_may_emit_when_it_does_not_ring() {
    let (client, url) = fresh_outbox().await;
    let relay = connect(&url).await;
    relay.batch_execute("insert into outbox.subscriptions (name) values ('s')").await.unwrap();
    assert_eq!(word(&relay, &format!("{SLEEP} 's'")).await, "true");
    let name = servers::unique("prepared");
    let (code, ..) = refused(&client, &format!("begin; select outbox.emit('jobs', 'a'); prepare transaction '{name}'")).await;
    assert_eq!(code, "0A000", "PostgreSQL refuses a transaction that notified");
    client
        .batch_execute(&format!(
            "rollback; begin; set local outbox.wake = off; select outbox.emit('jobs', 'a'); prepare transaction '{name}'"
        ))
        .await
        .unwrap();
    assert_eq!(events(&relay).await, []);
    client.batch_execute(&format!("commit prepared '{name}'")).await.unwrap();
    assert_eq!(events(&relay).await.len(), 1);
}

#[tokio::test]
async fn doorbells_follow_the_subscriptions() {
    let (client, _) = fresh_outbox().await;
    let bells = "select coalesce(string_agg(subscription || ' ' || coalesce(topics::text, 'all'), ', ' order by id), '-')
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

// Permissions ------------------------------------------------------------------------------------------------------

/// Changes the session to a new role that owns nothing, and returns its name.
async fn become_writer(client: &Client) -> String {
    let role = servers::unique("writer");
    client.batch_execute(&format!("create role \"{role}\"; grant all on schema public to \"{role}\"")).await.unwrap();
    role
}

#[tokio::test]
async fn an_application_needs_two_grants_to_emit_and_none_for_watched_tables() {
    let (client, _) = fresh_outbox().await;
    let role = become_writer(&client).await;
    client
        .batch_execute(&format!(
            "create table t (id int primary key, parent int); create table p (id int primary key);
             select outbox.watch('t', 'rows', ignore => array['parent']);
             select outbox.watch('t', 'parents', key => 'parent', parent => 'p');
             select outbox.watch('t', 'looked', lookup => 'select id from public.p where id = ($1).parent');
             insert into p values (1);
             grant select, insert, update, delete, truncate on t to \"{role}\"; set role \"{role}\""
        ))
        .await
        .unwrap();
    client
        .batch_execute("insert into t values (1, 1); update t set id = 2; delete from t; insert into t values (3); truncate t")
        .await
        .unwrap();
    assert_eq!(refused(&client, "select outbox.emit('jobs', 'a')").await.0, "42501");
    client.batch_execute(&format!("reset role; select outbox.grant_writer('{role}'); set role \"{role}\"")).await.unwrap();
    client
        .batch_execute("select outbox.emit('jobs', outbox.key('a', 'b')), outbox.emit_many('jobs', array['a'])")
        .await
        .unwrap();
    for forbidden in [
        "select * from outbox.events",
        "insert into outbox.events (topic, key, version, action) values ('t', 'k', 1, 'INDEX')",
        "update outbox.versions set version = 0",
        "select nextval('outbox.version_seq')",
        "select outbox.append_many('two words', array['a'], 'INDEX')",
        "select outbox.watch('t', 'mine')",
        "select outbox.unwatch('t')",
        "select * from outbox.adopt_history()",
        "select outbox.maintain()",
        "create table outbox.mine ()",
    ] {
        assert_eq!(refused(&client, forbidden).await.0, "42501", "{forbidden}");
    }
    client.batch_execute("reset role").await.unwrap();
    let topics: Vec<_> = events(&client).await.into_iter().map(|(topic, ..)| topic).collect();
    for topic in ["rows", "parents", "looked", "jobs"] {
        assert!(topics.iter().any(|t| t == topic), "{topic}: {topics:?}");
    }
    let clean = format!("reset role; drop owned by \"{role}\"; drop role \"{role}\"");
    client.batch_execute(&clean).await.unwrap();
}

/// Everything an application could put in the way of a function that runs with its owner's rights.
const HOSTILE: &str = r"
create schema evil;
create function evil.fail(anycompatible) returns boolean language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.fail(text, text) returns boolean language plpgsql as $$ begin raise 'hostile'; end $$;
create operator evil.= (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.<> (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.< (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.!~ (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.|| (leftarg = text, rightarg = text, function = evil.fail);
create function evil.nextval(regclass) returns bigint language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.nextval(text) returns bigint language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.clock_timestamp() returns timestamptz language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.octet_length(text) returns int language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.replace(text, text, text) returns text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.current_setting(text, boolean) returns text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.pg_notify(text, text) returns void language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.unnest(text[]) returns setof text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.jsonb_typeof(jsonb) returns text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.jsonb_populate_record(anyelement, jsonb) returns anyelement
    language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.pg_try_advisory_xact_lock_shared(int, int) returns boolean
    language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.count_me() returns trigger language plpgsql as $$ begin raise 'hostile'; end $$;
grant usage on schema evil to public;
";

/// Tables and types of the session come first unless they are put last.
const HOSTILE_SESSION: &str = r"
create domain pg_temp.text as pg_catalog.text check (false);
create domain pg_temp.bigint as pg_catalog.int8 check (false);
create temp table versions (topic int); create temp table events (topic int); create temp table p (id int);
create temp table doorbells (id int); create temp table pg_class (id int); create temp table pg_trigger (id int);
set search_path = evil, pg_temp, public, pg_catalog;
";

#[tokio::test]
async fn nothing_in_the_callers_search_path_is_called_with_the_owners_rights() {
    let (client, _) = fresh_outbox().await;
    let role = become_writer(&client).await;
    client
        .batch_execute(&format!(
            "create table public.t (a text, b text, c text, parent int, primary key (a, b));
             create table public.p (id int primary key);
             insert into outbox.subscriptions (name, topics) values ('s', '{{jobs,rows}}');
             select outbox.watch('t', 'rows', ignore => array['c']), outbox.watch('t', 'listed', columns => array['c']),
                    outbox.watch('t', 'parents', key => 'parent', parent => 'p'),
                    outbox.watch('t', 'looked', lookup => 'select id from public.p where id = ($1).parent');
             insert into p values (1); grant all on t, p to \"{role}\"; select outbox.grant_writer('{role}');
             grant temporary on database \"{}\" to \"{role}\"; {HOSTILE}",
            word(&client, "current_database()").await
        ))
        .await
        .unwrap();
    client.batch_execute(&format!("set role \"{role}\"; {HOSTILE_SESSION}")).await.unwrap();
    // The trap is set: unprotected, the very same names are the hostile ones.
    for trap in ["select nextval('x'::pg_catalog.text)", "select octet_length('x'::pg_catalog.text)", "select 'x'::text"] {
        assert!(client.batch_execute(trap).await.is_err(), "{trap}");
    }
    let writes = "
        select outbox.emit('jobs', outbox.key('a', 'b'), headers => '{\"h\": \"x\"}');
        select outbox.emit_many('jobs', array['a', 'b']);
        insert into public.t values ('x:', 'y', 'z', 1);
        update public.t set c = 'other';
        update public.t set b = 'moved', parent = null;
        update public.t set a = 'moved', parent = 1;
        delete from public.t;
        insert into public.t values ('x', 'y', 'z', 1);
        truncate public.t";
    for statement in writes.split(';') {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {}", said(&error).1));
    }
    client.batch_execute("reset role; set search_path = pg_catalog, pg_temp").await.unwrap();
    assert_eq!(number(&client, "select count(*) from outbox.events where topic = 'rows'").await, 8);
    client.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
}

#[tokio::test]
async fn nothing_in_the_outbox_is_open_to_everybody_and_no_function_trusts_its_callers_path() {
    let (client, _) = fresh_outbox().await;
    client.batch_execute("create table t (id int primary key); select outbox.watch('t', 'rows')").await.unwrap();
    let open = "select coalesce(string_agg(what, ', '), '') from (
            select p.oid::regprocedure::text from pg_proc p
            where p.pronamespace = 'outbox'::regnamespace and has_function_privilege('public', p.oid, 'execute')
            union all select c.oid::regclass::text from pg_class c
            where c.relnamespace = 'outbox'::regnamespace
              and (c.relkind in ('r', 'p') and has_table_privilege('public', c.oid, 'select, insert, update, delete')
                   or c.relkind = 'S' and has_sequence_privilege('public', c.oid, 'usage, select, update'))
            union all select 'schema' where has_schema_privilege('public', 'outbox', 'usage, create')
        ) as opened (what)";
    assert_eq!(word(&client, open).await, "");
    // The two that are inlined into other queries, and so can have no setting, are written with qualified names only.
    let trusting = "select coalesce(string_agg(p.proname, ', ' order by p.proname), '') from pg_proc p
         where p.pronamespace = 'outbox'::regnamespace
           and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)";
    assert_eq!(word(&client, trusting).await, "key, wake_class");
}

#[tokio::test]
async fn people_find_an_explanation_beside_each_table_and_each_function_meant_for_them() {
    let (client, _) = fresh_outbox().await;
    let silent = "select coalesce(string_agg(c.relname, ', '), '') from pg_class c
         where c.relnamespace = 'outbox'::regnamespace and c.relkind in ('r', 'p') and c.relname <> 'migrations'
           and obj_description(c.oid, 'pg_class') is null";
    assert_eq!(word(&client, silent).await, "");
    for function in [
        "emit", "emit_many", "key", "watch", "unwatch", "maintain", "grant_writer", "wake_class", "current_history",
        "note_history", "adopt_history",
    ] {
        let described = format!(
            "select count(*) > 0 and bool_and(obj_description(p.oid, 'pg_proc') is not null) from pg_proc p
             where p.pronamespace = 'outbox'::regnamespace and p.proname = '{function}'"
        );
        assert_eq!(word(&client, &described).await, "true", "{function}");
    }
}

// Leaves -----------------------------------------------------------------------------------------------------------

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

// Histories --------------------------------------------------------------------------------------------------------

async fn note(client: &Client) -> (i32, String, String) {
    let row = client.query_one("select epoch, token::text, verdict from outbox.note_history()", &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_history_is_noted_once_and_a_promotion_begins_the_next() {
    let (client, url) = fresh_outbox().await;
    let mut starters = Vec::new();
    for _ in 0..4 {
        starters.push(connect(&url).await);
    }
    let noted = futures::future::join_all(starters.iter().map(note)).await;
    assert_eq!(noted.iter().filter(|(.., verdict)| verdict == "first").count(), 1, "{noted:?}");
    let (_, token, _) = &noted[0];
    assert!(noted.iter().all(|(epoch, t, _)| *epoch == 0 && t == token), "{noted:?}");
    assert_eq!(note(&client).await, (0, token.clone(), "same".to_owned()));

    client.batch_execute("update outbox.history set timeline = timeline - 1").await.unwrap();
    let noted = futures::future::join_all(starters.iter().map(note)).await;
    assert_eq!(noted.iter().filter(|(.., verdict)| verdict == "promoted").count(), 1, "{noted:?}");
    assert!(noted.iter().all(|(epoch, t, _)| *epoch == 1 && t != token), "{noted:?}");
    assert_eq!(note(&client).await.2, "same");
    assert_eq!(number(&client, "select count(*) from outbox.history").await, 2);
}

#[tokio::test]
async fn another_clusters_history_is_foreign_until_a_person_adopts_it() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "select outbox.emit('jobs', 'a'); select outbox.emit('jobs', 'b');
             insert into outbox.subscriptions (name, lo, hi, last, lease_holder, lease_term, lease_until)
             values ('s', '999:999:', '1000:1000:', 7, 'me', 3, now() + interval '1 hour')",
        )
        .await
        .unwrap();
    let (_, token, _) = note(&client).await;
    for other in ["system_identifier = system_identifier + 1", "database_oid = 1", "events_oid = 1"] {
        client.batch_execute(&format!("begin; update outbox.history set {other}")).await.unwrap();
        assert_eq!(note(&client).await, (0, token.clone(), "foreign".to_owned()), "{other}");
        assert_eq!(number(&client, "select count(*) from outbox.history").await, 1, "nothing was changed");
        client.batch_execute("rollback").await.unwrap();
    }
    client.batch_execute("update outbox.history set events_oid = 1, timeline = 99; update outbox.events set xid = '1'").await.unwrap();
    assert_eq!(note(&client).await.2, "foreign", "whatever the timeline");
    let row = client.query_one("select epoch, events from outbox.adopt_history()", &[]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i64>(1)), (1, 2));
    let (epoch, fresh, verdict) = note(&client).await;
    assert_eq!((epoch, verdict.as_str()), (1, "same"));
    assert_ne!(fresh, token);
    let subscription = "select (lo, hi, last, lease_holder, lease_term, lease_until, history)::text from outbox.subscriptions";
    assert_eq!(word(&client, subscription).await, format!("(1:1:,,0,,4,,{fresh})"));
    let stamped = "select count(*) from outbox.events where xid <> '1' and pg_visible_in_snapshot(xid, pg_current_snapshot())";
    assert_eq!(number(&client, stamped).await, 2);
}

#[tokio::test]
async fn an_owner_who_is_no_superuser_can_do_everything() {
    let (admin, url) = fresh_database().await;
    let role = servers::unique("owner");
    let database = word(&admin, "current_database()").await;
    admin
        .batch_execute(&format!(
            "create role \"{role}\" login password 'owner'; grant all on database \"{database}\" to \"{role}\";
             grant all on schema public to \"{role}\""
        ))
        .await
        .unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    let mut owner = connect(&format!("{scheme}://{role}:owner@{host}")).await;
    migrate(&mut owner).await.unwrap();
    assert_eq!(note(&owner).await.2, "first");
    owner
        .batch_execute(
            "create table t (id int primary key); select outbox.watch('t', 'rows', always => true);
             insert into t values (1); truncate t; select outbox.emit('jobs', 'a'); select outbox.maintain(9);
             select * from outbox.adopt_history(); select outbox.unwatch('t')",
        )
        .await
        .unwrap();
    assert_eq!(events(&owner).await.len(), 3);
    drop(owner);
    admin.batch_execute(&format!("drop owned by \"{role}\" cascade; drop role \"{role}\"")).await.unwrap();
}

// Migrations -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn six_migrations_at_once_apply_each_step_once_and_none_fails() {
    let (client, url) = fresh_database().await;
    let steps = pending(&client).await.unwrap();
    assert!(steps.len() >= 5 && steps[0] == "V1__tables", "{steps:?}");
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut client = connect(&url).await;
        runs.spawn(async move { migrate(&mut client).await });
    }
    let mut applied = Vec::new();
    while let Some(run) = runs.join_next().await {
        applied.extend(run.unwrap().unwrap());
    }
    assert_eq!(applied, steps);
    assert_eq!(pending(&client).await.unwrap(), [] as [&str; 0]);
    assert_eq!(number(&client, "select count(*) from pg_locks where locktype = 'advisory' and database =
        (select oid from pg_database where datname = current_database())").await, 0);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let (mut client, _) = fresh_outbox().await;
    assert_eq!(migrate(&mut client).await.unwrap(), [] as [&str; 0]);
    client
        .batch_execute("insert into outbox.migrations select 9999, 'future', applied_on, checksum from outbox.migrations limit 1")
        .await
        .unwrap();
    let error = migrate(&mut client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("newer") && error.to_string().contains("future"), "{error}");
}

#[tokio::test]
async fn a_migration_that_cannot_be_applied_says_why_and_leaves_nothing_half_done() {
    let (mut client, _) = fresh_database().await;
    client.batch_execute("create schema outbox; create table outbox.watches ()").await.unwrap();
    let error = migrate(&mut client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("V1__tables") && error.to_string().contains("watches"), "{error}");
    assert_eq!(word(&client, "to_regclass('outbox.events') is null").await, "true");
    client.batch_execute("drop table outbox.watches").await.unwrap();
    migrate(&mut client).await.unwrap();
}
