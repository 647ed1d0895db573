//! Rows of an application's own outbox table that become events.

use std::time::Duration;

use sync_core::adapter::postgres::{PostgresDeadLetters, PostgresSource, SourceConfig};
use sync_core::port::{DeadLetter, DeadLetters, LetterSelection, Origin, Source};
use tokio_postgres::Client;

use super::permissions::{new_role, owned_by_nobody_special};
use super::{number, refused, until_someone_waits, word};
use crate::support::postgres::{connect, database, fresh_outbox};

/// As Debezium's documentation has it, with columns of an application's own.
const TABLE: &str = "create table orders_outbox (id uuid primary key default gen_random_uuid(),
    aggregatetype varchar(255) not null, aggregateid varchar(255), type varchar(255), payload jsonb, tenant int)";

/// Topic, key, action, what is sent, and headers without ids, of each event in the order of ids.
async fn sent(client: &Client) -> Vec<[String; 5]> {
    let sql = "select topic, key, action, coalesce(value, payload::text, '-'), (headers - 'id')::text
                 from outbox.events order by id";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| [0, 1, 2, 3, 4].map(|column| row.get(column))).collect()
}

fn event(topic: &str, key: &str, value: &str, headers: &str) -> [String; 5] {
    [topic, key, "INDEX", value, headers].map(str::to_owned)
}

#[tokio::test]
async fn each_row_that_is_inserted_becomes_an_event_of_its_transaction_whatever_becomes_of_the_row() {
    let (mut client, _) = fresh_outbox().await;
    client
        .batch_execute(&format!(
            "{TABLE}; insert into orders_outbox (aggregatetype, aggregateid) values ('before', '1');
             select outbox.route('orders_outbox', headers => '{{\"type\": \"eventType\", \"tenant\": \"tenant\"}}')"
        ))
        .await
        .unwrap();
    let insert = "insert into orders_outbox (aggregatetype, aggregateid, type, payload, tenant) values";
    // A usual pattern: the row is only there for who reads the log.
    client
        .batch_execute(&format!(
            "begin; {insert} ('order', '7', 'created', '{{\"b\": 1}}', 3); delete from orders_outbox; commit"
        ))
        .await
        .unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(&format!("{insert} ('order', '8', 'lost', '{{}}', 1)")).await.unwrap();
    transaction.rollback().await.unwrap();
    client
        .batch_execute(&format!(
            "{insert} ('order', '7', 'paid', '[1, \"ß\"]', null), ('customer', 'c', 'named', null, 4);
             update orders_outbox set type = 'changed'; delete from orders_outbox; truncate orders_outbox"
        ))
        .await
        .unwrap();
    let mut expected = vec![
        event("outbox.event.order", "7", "{\"b\": 1}", "{\"tenant\": \"3\", \"eventType\": \"created\"}"),
        event("outbox.event.order", "7", "[1, \"ß\"]", "{\"eventType\": \"paid\"}"),
        event("outbox.event.customer", "c", "-", "{\"tenant\": \"4\", \"eventType\": \"named\"}"),
    ];
    // Nothing to send is how an outbox of this kind says that something is gone.
    expected[2][2] = "DELETE".to_owned();
    assert_eq!(sent(&client).await, expected);
    let ids = "select count(distinct (headers ->> 'id')::uuid) from outbox.events";
    assert_eq!(number(&client, ids).await, 3);
    let versions = "select count(*) from outbox.events e join outbox.versions v using (topic, key, version)";
    assert_eq!(number(&client, versions).await, 2, "the last of each key");
}

#[tokio::test]
async fn what_is_no_jsonb_is_kept_and_read_byte_for_byte() {
    let (client, url) = fresh_outbox().await;
    let odd = " {\"b\":1,\t\"a\" : 1.50, \"a\":1e2}\n";
    for column in ["text", "json", "varchar(100)"] {
        client
            .batch_execute(&format!(
                "drop table if exists t; create table t (id int, aggregatetype text, aggregateid text, payload {column});
                 select outbox.route('t', topic => 'odd'); insert into t values (1, 'x', 'k', '{odd}')"
            ))
            .await
            .unwrap();
    }
    client
        .batch_execute(
            "alter table t alter payload type text; select outbox.route('t', topic => 'odd');
                        insert into t values (2, 'x', 'k', 'no json, '), (3, 'x', 'k', '')",
        )
        .await
        .unwrap();
    let source = PostgresSource::new(database(&url), SourceConfig::default().holder("me"));
    let mut feed = source.open().await.unwrap();
    let batch = feed.reader.next().await.unwrap().unwrap();
    let read: Vec<_> = batch.events.iter().map(|event| event.payload.as_deref().unwrap()).collect();
    assert_eq!(read, [odd, odd, odd, "no json, ", ""]);
}

#[tokio::test]
async fn rows_of_one_key_wait_for_each_other_and_rows_without_a_key_for_nobody() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute(&format!("{TABLE}; select outbox.route('orders_outbox')")).await.unwrap();
    let (first, second) = (connect(&url).await, connect(&url).await);
    let insert = "insert into orders_outbox (aggregatetype, aggregateid, payload) values";
    first.batch_execute(&format!("begin; {insert} ('order', 'a', '1'), ('order', null, '2')")).await.unwrap();
    second.batch_execute(&format!("{insert} ('order', 'b', '3'), ('order', null, '4')")).await.unwrap();
    let one_key = async {
        second.batch_execute(&format!("{insert} ('order', 'a', '5')")).await.unwrap();
    };
    let commit = async {
        until_someone_waits(&client).await;
        first.batch_execute("commit").await.unwrap();
    };
    tokio::join!(one_key, commit);
    let of_a = "select string_agg(payload::text, ',' order by id) from outbox.events where key = 'a'";
    assert_eq!(word(&client, of_a).await, "1,5");
    let own = "select count(*) from outbox.events where key = headers ->> 'id'";
    assert_eq!(number(&client, own).await, 2, "a row without a key has its id for one");
    assert_eq!(number(&client, "select count(*) from outbox.versions").await, 2, "nothing is remembered of those");
}

#[tokio::test]
async fn rows_of_one_statement_are_events_in_the_order_in_which_they_were_inserted() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(&format!(
            "{TABLE}; select outbox.route('orders_outbox');
             insert into orders_outbox (aggregatetype, aggregateid, payload)
             select 'order', n % 3, to_jsonb(n) from generate_series(1, 300) n"
        ))
        .await
        .unwrap();
    let disorder =
        "select count(*) from (select payload::int - lag(payload::int) over (partition by key order by id) as step
                      from outbox.events) steps where step <> 3";
    assert_eq!(number(&client, disorder).await, 0);
    assert_eq!(number(&client, "select count(*) from outbox.events").await, 300);
}

#[tokio::test]
async fn partitions_are_routed_with_their_table_those_that_come_later_too() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create table p (id int, day int, aggregatetype text, aggregateid text, payload json) partition by range (day);
             create table one partition of p for values from (0) to (10);
             select outbox.route('p', topic => 'of.${routedByValue}');
             create table two (payload json, aggregateid text, id int, aggregatetype text, day int);
             alter table p attach partition two for values from (10) to (20);
             insert into p values (1, 1, 'a', 'k', '1'), (2, 11, 'a', 'k', '2'); insert into two values ('3', 'k', 3, 'b', 12)",
        )
        .await
        .unwrap();
    let topics = "select string_agg(topic || ' ' || value, ',' order by id) from outbox.events";
    assert_eq!(word(&client, topics).await, "of.a 1,of.a 2,of.b 3");
    client.batch_execute("select outbox.unroute('p'); insert into p values (4, 1, 'a', 'k', '4')").await.unwrap();
    assert_eq!(number(&client, "select count(*) from outbox.events").await, 3);
    assert_eq!(number(&client, "select count(*) from pg_trigger where tgname = 'outbox_route'").await, 0);
}

#[tokio::test]
async fn columns_of_other_names_and_types_are_named_and_moments_are_written_alike_in_every_session() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create domain place as text; create type kind as enum ('big', 'small');
             create table t (number bigint, \"Where To\" place, whom uuid, what jsonb, at timestamptz, day date,
                             local timestamp, short timestamp(3), fits kind, is_new bool);
             select outbox.route('t', topic => '${routedByValue}-${routedByValue}', route_by => 'Where To',
                 event_id => 'number', event_key => 'whom', payload => 'what',
                 headers => '{\"at\": \"At\", \"day\": \"Day\", \"local\": \"Local\", \"short\": \"Short\", \"fits\": \"Fits\", \"is_new\": \"New\"}')",
        )
        .await
        .unwrap();
    for session in ["datestyle = 'SQL, DMY'; set timezone = 'Asia/Tokyo'", "datestyle = 'ISO'; set timezone = 'UTC'"] {
        client
            .batch_execute(&format!(
                "set {session}; insert into t values (9, 'x', '00000000-0000-0000-0000-00000000000a', '{{}}',
                     '2026-01-02T03:04:05.5Z', date '2026-01-02', timestamp '2026-01-02T03:04:05', timestamp '2026-01-02T03:04:05.5', 'small', true)"
            ))
            .await
            .unwrap();
    }
    let expected = "x-x 00000000-0000-0000-0000-00000000000a {\"At\": \"2026-01-02T03:04:05.500000Z\", \"id\": \"9\", \
                    \"Day\": \"20455\", \"New\": \"true\", \"Fits\": \"small\", \"Local\": \"1767323045000000\", \
                    \"Short\": \"1767323045500\"}";
    let rows =
        client.query("select topic || ' ' || key || ' ' || headers::text from outbox.events", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), [expected, expected]);
}

#[tokio::test]
async fn a_day_and_a_moment_that_never_come_make_no_header_and_more_headers_than_a_row_can_make_are_refused() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create table never (id int, aggregateid text, payload json, day date, local timestamp, at timestamptz);
             select outbox.route('never', topic => 'orders', headers => '{\"day\": \"d\", \"local\": \"l\", \"at\": \"a\"}');
             insert into never values (1, 'a', '{}', 'infinity', '-infinity', 'infinity');
             insert into never values (2, 'a', '{}', '2026-01-02', '294276-12-31T23:59:59', '2026-01-02T00:00:00Z')",
        )
        .await
        .unwrap();
    let headers = "select string_agg(headers::text, ' ' order by id) from outbox.events";
    let expected =
        r#"{"id": "1"} {"a": "2026-01-02T00:00:00.000000Z", "d": "20455", "l": "9224318015999000000", "id": "2"}"#;
    assert_eq!(word(&client, headers).await, expected);
    let columns: Vec<_> = (0..50).map(|number| format!("c{number} int")).collect();
    client
        .batch_execute(&format!("create table many (id int, aggregateid text, payload json, {})", columns.join(", ")))
        .await
        .unwrap();
    let named = |count| (0..count).map(|number| format!("\"c{number}\": \"h{number}\"")).collect::<Vec<_>>().join(", ");
    let route = |count| format!("select outbox.route('many', topic => 'orders', headers => '{{{}}}')", named(count));
    let (code, said, _) = refused(&client, &route(50)).await;
    assert_eq!(
        (code.as_str(), said.as_str()),
        ("54023", "outbox.route: headers names 50 columns; it can be 49 at most")
    );
    client.batch_execute(&route(49)).await.unwrap();
    client.batch_execute("insert into many (id, aggregateid, payload, c7) values (1, 'a', '{}', 7)").await.unwrap();
}

#[tokio::test]
async fn a_table_whose_events_go_to_one_topic_needs_no_column_to_route_by() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create table one (id int, aggregateid text, payload json);
             select outbox.route('one', topic => 'orders'); insert into one values (1, 'a', '{}')",
        )
        .await
        .unwrap();
    assert_eq!(word(&client, "select topic || ' ' || key from outbox.events").await, "orders a");
}

#[tokio::test]
async fn an_event_of_a_traced_transaction_carries_the_trace_unless_a_column_does() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(&format!(
            "{TABLE}; select outbox.route('orders_outbox'); set outbox.traceparent = '00-trace';
             insert into orders_outbox (aggregatetype, aggregateid) values ('order', '1');
             select outbox.route('orders_outbox', headers => '{{\"type\": \"traceparent\"}}');
             insert into orders_outbox (aggregatetype, aggregateid, type) values ('order', '1', '00-own')"
        ))
        .await
        .unwrap();
    let traces = "select string_agg(headers ->> 'traceparent', ',' order by id) from outbox.events";
    assert_eq!(word(&client, traces).await, "00-trace,00-own");
}

#[tokio::test]
async fn what_cannot_be_routed_is_refused_by_argument_with_what_mends_it() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(&format!(
            "{TABLE}; create view v as table orders_outbox; create temp table gone (id int);
             create table b (id int, aggregatetype text, aggregateid text, payload bytea, payload_of_int int, at timestamptz,
                             list text[], place point)"
        ))
        .await
        .unwrap();
    for (arguments, code, said, hint) in [
        ("'v'", "42809", "v is not a table", ""),
        ("'gone'", "42809", "gone cannot be routed", "temporary"),
        ("'outbox.events'", "42809", "outbox.events cannot be routed", ""),
        ("0", "42P01", "there is no table", ""),
        ("null", "42P01", "there is no table NULL", ""),
        (
            "'orders_outbox', event_key => 'aggregateID'",
            "42703",
            "event_key names 'aggregateID', which",
            "mean 'aggregateid'?",
        ),
        ("'orders_outbox', route_by => 'kind'", "42703", "route_by names 'kind', which is no column", "route_by => "),
        ("'orders_outbox', event_id => null", "22004", "event_id is null", "name of a column"),
        ("'orders_outbox', topic => null", "22004", "topic is null", "${routedByValue}"),
        ("'orders_outbox', topic => 'two words'", "22023", "topic 'two words' makes no names", "characters"),
        ("'orders_outbox', topic => 'x.$1'", "22023", "topic 'x.$1' makes no names", "${routedByValue}"),
        ("'b'", "0A000", "payload names 'payload', of type bytea; it has to be jsonb, json or text", "Keep Debezium"),
        ("'b', payload => 'payload_of_int'", "0A000", "of type integer; it has to be", "another column"),
        ("'b', event_key => 'at'", "0A000", "event_key names 'at', of type timestamp with time zone", "another column"),
        ("'b', event_key => 'place'", "0A000", "event_key names 'place', of type point", "another column"),
        ("'b', route_by => 'list'", "0A000", "route_by names 'list', of type text[]", "another column"),
        (
            "'orders_outbox', headers => '[]'",
            "22023",
            "headers must be a flat JSON object of strings, not []",
            "eventType",
        ),
        ("'orders_outbox', headers => '{\"type\": 1}'", "22023", "headers must be a flat JSON object", ""),
        ("'orders_outbox', headers => '{\"kind\": \"x\"}'", "42703", "headers names 'kind', which is no column", ""),
        ("'orders_outbox', headers => '{\"type\": \"id\"}'", "22023", "column 'type' the name 'id'", "event_id"),
        ("'orders_outbox', headers => '{\"type\": \"\"}'", "22023", "column 'type' the name ''", "has a name"),
        (
            "'orders_outbox', headers => '{\"type\": \"x\", \"tenant\": \"x\"}'",
            "22023",
            "has the name 'x' twice",
            "of its own",
        ),
    ] {
        let (sqlstate, message, mend) = refused(&client, &format!("select outbox.route({arguments})")).await;
        assert_eq!(sqlstate, code, "{arguments}: {message}");
        assert!(message.starts_with("outbox.route: ") && message.contains(said), "{arguments}: {message}");
        assert!(mend.contains(hint), "{arguments}: {mend}");
    }
    assert_eq!(number(&client, "select count(*) from outbox.routes").await, 0);
    assert_eq!(number(&client, "select count(*) from pg_trigger where tgname like 'outbox_route%'").await, 0);
}

#[tokio::test]
async fn a_row_no_message_can_be_made_of_is_refused_by_the_names_of_its_table_and_columns() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "create table t (id int, kind text, whom text, payload text);
                        select outbox.route('t', route_by => 'kind', event_key => 'whom')",
        )
        .await
        .unwrap();
    let long = "x".repeat(2_001);
    for (values, said) in [
        ("1, null, 'k'".to_owned(), "kind is null, and no topic"),
        ("1, 'two words', 'k'".to_owned(), "with kind, its topic would be 'outbox.event.two words'"),
        (format!("1, '{long}', 'k'"), "with kind, its topic would be"),
        (format!("1, 'a', '{long}'"), "whom has 2001 bytes"),
        ("null, 'a', null".to_owned(), "whom and id are null"),
    ] {
        let (_, message, _) = refused(&client, &format!("insert into t values ({values})")).await;
        assert!(
            message.starts_with("outbox: this row of public.t cannot") && message.contains(said),
            "{values}: {message}"
        );
    }
    // Longer than a document's id, and none at all: of no use to an index, but that is no reason to refuse the application's row.
    client.batch_execute(&format!("insert into t values (1, 'a', '{}'), (2, 'a', '')", &long[1..])).await.unwrap();
    assert_eq!(
        word(&client, "select string_agg(length(key)::text, ',' order by id) from outbox.events").await,
        "2000,0"
    );
}

#[tokio::test]
async fn a_route_is_replaced_by_the_next_and_taken_away_without_a_trace() {
    let (client, _) = fresh_outbox().await;
    let installed = "select (select count(*) from pg_proc where pronamespace = 'outbox'::regnamespace)
                          + (select count(*) from pg_trigger where not tgisinternal) + (select count(*) from outbox.routes)";
    client.batch_execute(TABLE).await.unwrap();
    let before = number(&client, installed).await;
    client.batch_execute("select outbox.route('orders_outbox', topic => 'one')").await.unwrap();
    assert_eq!(number(&client, installed).await, before + 3);
    client.batch_execute("select outbox.route('orders_outbox', topic => 'two')").await.unwrap();
    assert_eq!(number(&client, installed).await, before + 3);
    let insert = "insert into orders_outbox (aggregatetype, aggregateid) values ('order', '1')";
    client.batch_execute(insert).await.unwrap();
    assert_eq!(word(&client, "select string_agg(topic, ',') from outbox.events").await, "two");
    assert_eq!(word(&client, "select outbox.unroute('orders_outbox')").await, "true");
    assert_eq!(word(&client, "select outbox.unroute('orders_outbox')").await, "false");
    client.batch_execute(insert).await.unwrap();
    assert_eq!(number(&client, "select count(*) from outbox.events").await, 1);
    client
        .batch_execute(
            "select outbox.route('orders_outbox'); drop table orders_outbox;
                        select outbox.unroute(relation) from outbox.routes",
        )
        .await
        .unwrap();
    assert_eq!(number(&client, installed).await, before);
}

#[tokio::test]
async fn whoever_writes_a_routed_table_needs_nothing_and_the_route_outlives_the_membership_of_who_made_it() {
    let (admin, owner, role) = owned_by_nobody_special().await;
    let (member, writer) = (new_role(&admin).await, new_role(&admin).await);
    let insert = "insert into orders_outbox (aggregatetype, aggregateid, payload) values ('order', '1', '1'), ('order', null, '2')";
    admin
        .batch_execute(&format!(
            "grant \"{role}\" to \"{member}\"; set role \"{member}\"; {TABLE};
             select outbox.route('orders_outbox', headers => '{{\"type\": \"eventType\"}}');
             grant insert on orders_outbox to \"{writer}\"; reset role; revoke \"{role}\" from \"{member}\"; set role \"{writer}\""
        ))
        .await
        .unwrap();
    // A relay that listens is rung for by whoever writes.
    owner
        .batch_execute(
            "insert into outbox.subscriptions (name, lo)
                        select 'search', x || ':' || x || ':' from pg_snapshot_xmax(pg_current_snapshot()) x",
        )
        .await
        .unwrap();
    admin.batch_execute(insert).await.unwrap();
    assert_eq!(
        refused(&admin, "insert into orders_outbox (aggregatetype, aggregateid) values ('a b', '1')").await.0,
        "22023"
    );
    for forbidden in [
        "select outbox.route('orders_outbox')",
        "select outbox.unroute('orders_outbox')",
        "select outbox.emit_again(1)",
    ] {
        assert_eq!(refused(&admin, forbidden).await.0, "42501", "{forbidden}");
    }
    admin.batch_execute("reset role").await.unwrap();
    assert_eq!(number(&admin, "select count(*) from outbox.events").await, 2);
    owner.batch_execute("select outbox.unroute(relation) from outbox.routes").await.unwrap();
    drop(owner);
    for role in [writer, member, role] {
        admin.batch_execute(&format!("drop owned by \"{role}\" cascade; drop role \"{role}\"")).await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_that_a_crash_could_take_back_is_not_left_so() {
    let (client, _) = fresh_outbox().await;
    client.batch_execute(&format!("{TABLE}; select outbox.route('orders_outbox')")).await.unwrap();
    client
        .batch_execute(
            "begin; set local synchronous_commit = off;
                        insert into orders_outbox (aggregatetype, aggregateid) values ('order', '1')",
        )
        .await
        .unwrap();
    assert_eq!(word(&client, "select current_setting('synchronous_commit')").await, "local");
    client.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn an_event_written_anew_for_its_dead_letter_carries_the_same_text_and_headers() {
    let (client, url) = fresh_outbox().await;
    client
        .batch_execute(
            "create table t (id int, aggregatetype text, aggregateid text, payload text);
                        select outbox.route('t'); insert into t values (7, 'order', 'k', ' {}')",
        )
        .await
        .unwrap();
    let letters = PostgresDeadLetters::new(database(&url));
    let letter = DeadLetter {
        reader: "search".to_owned(),
        origin: Origin::unpublished("outbox.event.order".to_owned(), 1),
        event: Some(1),
        key: Some("k".to_owned()),
        value: Some(" {}".to_owned()),
        error_kind: "refused".to_owned(),
        error: "too large".to_owned(),
        attempts: 1,
        parked_at: jiff::Timestamp::now(),
    };
    let emitted = async || {
        letters.park(&letter).await.unwrap();
        let kept = letters.list(&LetterSelection::default(), 0, 10).await.unwrap().remove(0);
        letters.emit_again(&kept).await
    };
    assert!(emitted().await.unwrap());
    let both = "select count(distinct (value, headers, topic, key, action)) * 10 + count(*) from outbox.events";
    assert_eq!(number(&client, both).await, 12, "two that say the same");
    // What is older than the newest of its key is not to come behind it.
    let error = emitted().await.unwrap_err();
    assert!(error.to_string().contains("its key has changed since"), "{error}");
}

#[tokio::test]
async fn a_route_waits_for_open_writers_so_that_no_row_is_neither_before_nor_after_it() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute(TABLE).await.unwrap();
    let (early, router) = (connect(&url).await, connect(&url).await);
    early
        .batch_execute("begin; insert into orders_outbox (aggregatetype, aggregateid) values ('order', 'early')")
        .await
        .unwrap();
    let route = async {
        router.batch_execute("select outbox.route('orders_outbox')").await.unwrap();
    };
    let commit = async {
        until_someone_waits(&client).await;
        assert_eq!(number(&client, "select count(*) from outbox.routes").await, 0);
        let before = word(&client, "select pg_current_wal_insert_lsn()").await;
        early.batch_execute("commit").await.unwrap();
        before
    };
    let both = async { tokio::join!(route, commit) };
    let ((), before) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    let is_behind = format!("select (routed_from > '{before}')::text from outbox.routes");
    assert_eq!(word(&client, &is_behind).await, "true", "who has read the log to there has the early row");
    client
        .batch_execute("insert into orders_outbox (aggregatetype, aggregateid) values ('order', 'late')")
        .await
        .unwrap();
    assert_eq!(word(&client, "select string_agg(key, ',') from outbox.events").await, "late");
}
