//! Searching when nodes fail, and rows of all kinds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::json;
use sync_core::adapter::memory::MemoryDatabase;
use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcher, PostgresSearcherConfig};
use sync_core::policy::BreakerState;
use sync_core::port::{AwaitedWrite, Found, Searcher};
use sync_core::query::{FieldNames, Fields, Order, Query};
use sync_core::search::{Search, SearchConfig};
use sync_core::testkit::conformance::SearcherHarness;
use sync_core::testkit::{HttpReply, HttpResponder, searched_documents, searched_fields};
use sync_core::{Error, ErrorKind};

use crate::support::postgres::fresh_outbox;
use crate::support::proxy::{Link, Proxy};
use crate::support::searched::{Index, searched};
use crate::support::servers;

const BUDGET: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_millis(400);

/// A node that replies so, and how often it was asked.
async fn node(reply: HttpReply) -> (HttpResponder, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let node = HttpResponder::start(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
        reply.clone()
    })
    .await;
    (node, asked)
}

fn says(status: u16, body: &str) -> HttpReply {
    HttpReply::Answer { status, body: body.to_owned() }
}

const FULL: &str = r#"{"error":{"type":"es_rejected_execution_exception","reason":"full"},"status":429}"#;

#[tokio::test]
async fn a_node_that_cannot_answer_is_left_for_another_one_within_the_time_there_is() {
    let index = Index::new().await;
    index.put(&searched_documents(1, 10)).await;
    for reply in [says(503, "{}"), says(429, FULL), HttpReply::Reset, HttpReply::Silence] {
        let what = format!("{reply:?}");
        let (broken, asked) = node(reply).await;
        let searcher = index.searched_at(vec![broken.url(), servers::elasticsearch()], BUDGET, ATTEMPT);
        let began = Instant::now();
        for _ in 0..10 {
            let found = searcher.search(&Query::default()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.total.value, 10);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{what}: it rests after it could not answer");
        assert!(began.elapsed() < BUDGET, "{what}: {:?}", began.elapsed());
    }
}

/// Finds nothing, and is not to be asked.
#[derive(Debug)]
struct Unasked;

#[async_trait]
impl Searcher for Unasked {
    fn name(&self) -> &'static str {
        "unasked"
    }

    async fn search(&self, _: &Query) -> Result<Found, Error> {
        Err(Error::new(ErrorKind::Internal, "the index was left though a node of it answers"))
    }

    async fn shows(&self, _: &[AwaitedWrite]) -> Result<bool, Error> {
        Ok(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_nothing_does_not_have_the_index_left_for_the_database() {
    let index = Index::new().await;
    index.put(&searched_documents(1, 10)).await;
    let (silent, asked) = node(HttpReply::Silence).await;
    let config = SearchConfig::default();
    let nodes = vec![silent.url(), servers::elasticsearch()];
    // On a busy machine an answer may take longer than what is late and slow by default.
    let searcher = Arc::new(index.searched_at(nodes, config.budget, Duration::from_millis(300)));
    let breaker = config.breaker.slow(Duration::from_millis(900));
    let rows = Arc::new(MemoryDatabase::default());
    let search = Search::new("notes", searcher, Arc::new(Unasked), rows, config.breaker(breaker));
    let query = Query::default();
    let one = async || search.search(&query).await.unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..5 {
        let answers = join_all((0..40).map(|_| one())).await;
        assert!(answers.iter().all(|answer| answer.source == "elasticsearch"));
    }
    assert_eq!(search.breaker(), BreakerState::Closed);
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= 40, "{asked} searches waited for it: those of the first moment, and nobody since");
}

#[tokio::test]
async fn a_node_that_was_late_rests_also_when_nobody_waits_for_it_any_longer() {
    let index = Index::new().await;
    index.put(&searched_documents(1, 10)).await;
    let (silent, asked) = node(HttpReply::Silence).await;
    let searcher = index.searched_at(vec![silent.url(), servers::elasticsearch()], BUDGET, ATTEMPT);
    let query = Query::default();
    // Given up a little after it was late, in the middle of the other node's turn or before it.
    for _ in 0..2 {
        let given_up = tokio::time::timeout(ATTEMPT + Duration::from_millis(1), searcher.search(&query)).await;
        drop(given_up);
    }
    for _ in 0..10 {
        searcher.search(&query).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_slow_node_is_not_left_for_one_that_says_nothing() {
    let index = Index::new().await;
    index.put(&searched_documents(1, 10)).await;
    let (silent, _) = node(HttpReply::Silence).await;
    let slow = Proxy::to_index().await;
    slow.set(Link::Slow(ATTEMPT));
    let searcher = index.searched_at(vec![silent.url(), slow.url(&servers::elasticsearch())], BUDGET, ATTEMPT);
    for _ in 0..6 {
        let found = searcher.search(&Query::default()).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.total.value, 10);
    }
}

#[tokio::test]
async fn when_no_node_answers_the_time_there_is_is_kept_and_no_third_one_asked() {
    let (one, _) = node(HttpReply::Silence).await;
    let (two, _) = node(HttpReply::Silence).await;
    let (three, asked) = node(HttpReply::Silence).await;
    let index = Index::new().await;
    let searcher = index.searched_at(vec![one.url(), two.url(), three.url()], BUDGET, ATTEMPT);
    let began = Instant::now();
    let error = searcher.search(&Query::default()).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("search.budget"), "{error}");
    assert!(took >= BUDGET && took < BUDGET + Duration::from_secs(2), "{took:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_answer_that_is_no_whole_answer_is_none() {
    let index = Index::new().await;
    for (status, body, kind) in [
        (200, r#"{"timed_out":true,"hits":{"total":{"value":0,"relation":"eq"}}}"#, ErrorKind::Unavailable),
        (200, r#"{"hits":[]}"#, ErrorKind::Unavailable),
        (200, "<html>", ErrorKind::Unavailable),
        (404, r#"{"error":{"type":"index_not_found_exception","reason":"no"},"status":404}"#, ErrorKind::Configuration),
        (400, r#"{"error":{"type":"parsing_exception","reason":"no"},"status":400}"#, ErrorKind::Configuration),
        (401, r#"{"error":{"type":"security_exception","reason":"no"},"status":401}"#, ErrorKind::Denied),
    ] {
        let (node, _) = node(says(status, body)).await;
        let searcher = index.searched_at(vec![node.url()], BUDGET, ATTEMPT);
        assert_eq!(searcher.search(&Query::default()).await.unwrap_err().kind(), kind, "{status} {body}");
    }
}

const ODD: &str = "
create type odd_status as enum ('open', 'shut');
create table \"Odd Table\" (id uuid primary key, \"Title\" varchar(100), status odd_status, tags varchar(10)[], score numeric,
                          n smallint, on_day date, at timestamp, hidden bool not null default false);
select outbox.watch('\"Odd Table\"', 'odd', 'id');
insert into \"Odd Table\" values
    ('00000000-0000-0000-0000-00000000000a', 'The invoices', 'open', '{a,b}', 0.1, 1, '2026-01-31', '2026-01-31 23:59:59.999999', false),
    ('00000000-0000-0000-0000-00000000000b', 'An invoice', 'shut', '{}', 0.10000000000000001, 2, '2026-02-01', '2026-02-01 00:00', false),
    ('00000000-0000-0000-0000-0000000000ab', 'the report', 'open', null, null, null, null, null, false),
    ('00000000-0000-0000-0000-0000000000ff', 'hidden', 'open', null, null, 9, null, null, true);";

const ODD_PROJECTION: &str = "
select id as key, case when not hidden then jsonb_build_object('id', id) end as document,
       \"Title\" as title, status, tags, score, n, on_day, at from \"Odd Table\";";

#[tokio::test]
async fn columns_of_other_types_are_compared_as_the_index_does_and_a_row_without_a_document_is_not_found() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute(ODD).await.unwrap();
    let mapping = json!({ "mappings": { "properties": {
        "id": { "type": "keyword" }, "title": { "type": "text" }, "status": { "type": "keyword" }, "tags": { "type": "keyword" },
        "score": { "type": "double" }, "n": { "type": "long" }, "on_day": { "type": "date" }, "at": { "type": "date" } } } });
    let names = FieldNames::new("id").text(["title"]).fields(["status", "tags[]", "score", "n", "on_day", "at"]);
    let fields = Arc::new(Fields::of_mapping(&mapping.to_string(), &names).unwrap());
    let config = PostgresSearcherConfig::new("odd", "odd", ODD_PROJECTION).language("english");
    let database = PostgresConfig::new(url);
    let searcher = PostgresSearcher::new(&database, &[], &config, Arc::clone(&fields)).unwrap();
    let keys = async |text: &str, order: &str| {
        let query = Query { order: Some(Order::parse(order)), limit: 1, ..Query::parse(text, &fields).unwrap() };
        let (mut keys, mut query) = (Vec::new(), query);
        loop {
            let found = searcher.search(&query).await.unwrap_or_else(|error| panic!("{text}: {error}"));
            keys.extend(found.hits.iter().map(|hit| hit.key.trim_start_matches(['0', '-']).to_owned()));
            let Some(next) = found.next else { return keys.join(" ") };
            query.after = Some(next);
        }
    };
    for (text, order, expected) in [
        ("", "id", "a b ab"),
        ("", "-id", "ab b a"),
        ("", "n", "a b ab"),
        ("", "-n", "b a ab"),
        ("", "-score", "b a ab"),
        ("", "on_day", "a b ab"),
        ("", "-at", "b a ab"),
        ("", "status", "a ab b"),
        ("status:open", "id", "a ab"),
        ("status:o*", "id", "a ab"),
        ("tags:a", "id", "a"),
        ("-tags:*", "id", "b ab"),
        ("score:0.1", "id", "a b"),
        ("n:>1", "id", "b"),
        ("on_day:2026-01-31", "id", "a"),
        ("at:2026-01-31", "id", "a"),
        ("at:>=2026-02-01", "id", "b"),
        ("id:00000000-0000-0000-0000-00000000000b,nonsense", "id", "b"),
        ("id:*0b", "id", "b"),
        // Words as English has them.
        ("invoice", "id", "a b"),
        ("the invoices", "id", "a b"),
        ("the", "id", "a b ab"),
        ("-the report", "id", "ab"),
    ] {
        assert_eq!(keys(text, order).await, expected, "{text:?} by {order}");
    }
    let indexes = searcher.indexes().await.unwrap();
    let without: Vec<_> = indexes.without.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(without, ["status"], "an enumeration cannot be indexed as text");
    client.batch_execute("create extension pg_trgm").await.unwrap();
    for index in &indexes.indexes {
        client.batch_execute(&index.sql).await.unwrap_or_else(|error| panic!("{}: {error:?}", index.sql));
    }
    assert!(searcher.indexes().await.unwrap().indexes.iter().all(|index| index.is_there));
}

#[tokio::test]
async fn pages_in_the_order_of_moments_that_are_far_away_end_and_lose_no_row() {
    let (client, url) = fresh_outbox().await;
    client
        .batch_execute(
            "create table far (id text primary key, at timestamptz);
             select outbox.watch('far', 'far');
             insert into far select 'end-' || n, '9999-12-31 23:59:59.999+00' from generate_series(10, 39) n;
             insert into far select 'odd-' || n, '2300-01-01 00:00:00.123457+00' from generate_series(10, 29) n;",
        )
        .await
        .unwrap();
    let mapping = r#"{"mappings":{"properties":{"id":{"type":"keyword"},"at":{"type":"date"}}}}"#;
    let fields = Arc::new(Fields::of_mapping(mapping, &FieldNames::new("id").fields(["at"])).unwrap());
    let sql = "select id as key, json_build_object('id', id, 'at', at) as document, at from far";
    let config = PostgresSearcherConfig::new("far", "far", sql);
    let searcher = PostgresSearcher::new(&PostgresConfig::new(url), &[], &config, Arc::clone(&fields)).unwrap();
    for order in ["at", "-at"] {
        let mut query = Query { order: Some(Order::parse(order)), limit: 10, ..Query::default() };
        let mut keys = BTreeSet::new();
        for _ in 0..5 {
            let found = searcher.search(&query).await.unwrap();
            keys.extend(found.hits.into_iter().map(|hit| hit.key));
            query.after = found.next;
        }
        assert_eq!((keys.len(), query.after), (50, None), "{order}");
    }
    let query = Query::parse("at:9999-12-31T23:59:59.999Z", &fields).unwrap();
    assert_eq!(searcher.search(&query).await.unwrap().total.value, 30);
}

#[tokio::test]
async fn a_projection_without_a_field_that_is_searched_is_refused_by_name() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("create table notes (id text primary key, tags text)").await.unwrap();
    let database = PostgresConfig::new(url);
    for (sql, told) in [
        ("select id as key, '{}'::jsonb as document from notes", "is not among the columns of indexes.notes.projection"),
        (
            "select id as key, '{}'::jsonb as document, null::bool as active, now() as created_at, 1 as priority, 1.0 as score,
             '' as status, tags, '' as \"workspace.name\", '' as title, '' as description from notes",
            "tags: the column is of type text, but [] behind the name says that it has several values",
        ),
    ] {
        let config = searched(sql, Duration::from_secs(30));
        let searcher = PostgresSearcher::new(&database, &[], &config, searched_fields()).unwrap();
        let error = searcher.search(&Query::default()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains(told), "{error}");
    }
}
