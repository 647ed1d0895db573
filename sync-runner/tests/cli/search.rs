//! Searches over HTTP, answered by a runner.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::http::get;
use crate::runner::{BOUND, Running, closed_port};
use crate::servers::Stage;

const PROJECTION: &str =
    "select id as key, jsonb_build_object('id', id::text, 'title', title, 'tags', tags, 'n', n) as document,
    title, tags, n from jobs";

const MAPPING: &str = r#"{"mappings":{"dynamic":"strict","properties":{"id":{"type":"keyword"},"title":{"type":"text"},
    "tags":{"type":"keyword"},"n":{"type":"integer"}}}}"#;

/// A stage whose index can be searched, and rows in it.
async fn searchable() -> Stage {
    let stage = Stage::migrated("direct").await;
    stage.sql("alter table jobs add tags text[] not null default '{}', add n int").await;
    stage.runner.write("jobs.sql", PROJECTION);
    stage.runner.write("jobs.json", MAPPING);
    let configuration = stage.runner.read("sync.toml");
    let more =
        "mapping = \"jobs.json\"\n[indexes.jobs.search]\ntext = \"title\"\nfields = \"tags[],n\"\norder = \"-n\"\n";
    stage.runner.write("sync.toml", &format!("{configuration}{more}"));
    stage
}

/// Waits for Elasticsearch however busy the machine is.
const PATIENT: [&str; 6] =
    ["--set", "search.budget=20s", "--set", "search.breaker.slow=20s", "--set", "search.breaker.recover_for=0s"];

/// Starts a runner and waits until it listens.
fn start(stage: &Stage, roles: &str, more: &[&str]) -> (Running, u16) {
    let port = closed_port();
    let listen = format!("search.listen=127.0.0.1:{port}");
    let arguments = [&["run", "--roles", roles, "--set", &listen], more].concat();
    let mut running = stage.runner.start(&arguments);
    running.until_told("searches are answered at");
    (running, port)
}

/// Waits until the index has all rows and is asked again, which it is not before it is there.
fn until_indexed(port: u16) {
    let by = Instant::now() + BOUND;
    loop {
        let answer = get(port, "/search").json();
        if answer["source"] == "elasticsearch" && answer["total"] == 50 {
            return;
        }
        assert!(Instant::now() < by, "it stayed at {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const ROWS: &str = "insert into jobs (id, title, tags, n) select i, 'invoice ' || i, array['t' || i % 3], i
                    from generate_series(1, 50) i";

#[tokio::test]
async fn searches_are_answered_by_the_index_and_in_the_same_shape_by_the_database_when_it_is_away() {
    let stage = searchable().await;
    let (running, port) = start(&stage, "relay,indexer,search", &PATIENT);
    stage.sql(ROWS).await;
    until_indexed(port);
    let answer = get(port, "/search?q=invoice+tags:t1&limit=5&sort=-n&facets=tags").json();
    assert_eq!((&answer["source"], &answer["degraded"]), (&"elasticsearch".into(), &false.into()), "{answer}");
    assert_eq!(answer["total"], 17, "{answer}");
    assert!(answer.get("banner").is_none() && answer["took_ms"].is_u64(), "{answer}");
    assert_eq!(answer["hits"][0]["document"]["title"], "invoice 49", "{answer}");
    let next = format!("/search?q=invoice+tags:t1&limit=5&sort=-n&cursor={}", answer["next"].as_str().unwrap());
    let second = get(port, &next);
    assert_eq!(second.keys(), ["34", "31", "28", "25", "22"]);

    // Nobody is there where Elasticsearch was; the cursor of the index goes on in the database.
    let nowhere = format!("elasticsearch.url=http://127.0.0.1:{}", closed_port());
    let operators = closed_port();
    let admin = format!("admin.listen=127.0.0.1:{operators}");
    let (other, away) = start(&stage, "search,admin", &["--set", &nowhere, "--set", &admin]);
    let same = get(away, "/search?q=invoice+tags:t1&limit=5&sort=-n&facets=tags").json();
    assert_eq!((&same["source"], &same["degraded"]), (&"postgres".into(), &true.into()), "{same}");
    assert_eq!(same["banner"], "Search results may be delayed");
    for part in ["hits", "total", "total_is_exact", "facets"] {
        assert_eq!(same[part], answer[part], "{part}");
    }
    assert_eq!(get(away, &next).keys(), second.keys());
    for _ in 0..12 {
        assert_eq!(get(away, "/search").status, 200);
    }
    let metrics = get(operators, "/metrics").body;
    let counted = |line: &str| metrics.lines().any(|told| told.starts_with(line));
    for line in [
        "search_fallback_postgres_total{index=\"jobs\",reason=\"failed\"} 10",
        "search_fallback_postgres_total{index=\"jobs\",reason=\"open\"} 4",
        "search_breaker_state{index=\"jobs\"} 3",
        "search_breaker_transitions_total{index=\"jobs\",to=\"open\"} 1",
        "search_seconds_count{index=\"jobs\",source=\"postgres\"} 14",
    ] {
        assert!(counted(line), "{line} is not in:\n{metrics}");
    }
    for process in [running, other] {
        process.signal("TERM");
        let (code, told) = process.end();
        assert_eq!(code, Some(0), "{told}");
    }
}

#[tokio::test]
async fn what_was_just_written_is_found_once_it_can_be_seen_or_in_the_database() {
    let stage = searchable().await;
    stage.sql(ROWS).await;
    let (running, port) =
        start(&stage, "relay,indexer,search", &[&PATIENT[..], &["--set", "search.wait=20s"]].concat());
    until_indexed(port);
    stage.sql("insert into jobs (id, title) values (99, 'brand new')").await;
    let answer = get(port, "/search?q=brand&wrote=99").json();
    assert_eq!((&answer["source"], &answer["total"]), (&"elasticsearch".into(), &1.into()), "{answer}");
    stage.sql("delete from jobs where id = 99").await;
    let answer = get(port, "/search?q=brand&wrote=99").json();
    assert_eq!((&answer["source"], &answer["total"]), (&"elasticsearch".into(), &0.into()), "{answer}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    // Nobody indexes any more.
    let (_running, port) = start(&stage, "search", &[&PATIENT[..], &["--set", "search.wait=200ms"]].concat());
    stage.sql("insert into jobs (id, title) values (100, 'newer still')").await;
    let version = stage.count("select version from outbox.versions where key = '100'").await;
    for wrote in ["100".to_owned(), format!("100%40{version}")] {
        let answer = get(port, &format!("/search?q=newer&wrote={wrote}")).json();
        assert_eq!((&answer["source"], &answer["total"]), (&"postgres".into(), &1.into()), "{answer}");
    }
    assert_eq!(get(port, "/search?q=newer").json()["total"], 0, "the index has not seen it");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_reason_and_nothing_else_is_told() {
    let stage = searchable().await;
    let nowhere = format!("elasticsearch.url=http://127.0.0.1:{}", closed_port());
    let (_running, port) = start(&stage, "search", &["--set", &nowhere]);
    let long = format!("/search?q={}", "x".repeat(3_000));
    for (path, status, told) in [
        ("/search?q=n:x", 400, "n: expected a whole number"),
        ("/search?q=none:x", 400, "there is no field"),
        ("/search?nothing=1", 400, "unknown parameter"),
        ("/search?limit=1000", 400, "limit: 1000 is not within"),
        ("/search?cursor=x", 400, "cursor: this is none"),
        ("/search?index=other", 400, "expected one of jobs"),
        ("/search?sort=tags", 400, "several values"),
        (&long, 400, "q: has 3000 bytes"),
    ] {
        let answer = get(port, path);
        assert_eq!((answer.status, &answer.json()["error"]["kind"]), (status, &"refused".into()), "{path}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(told), "{}", answer.body);
    }
    assert_eq!(get(port, "/nothing").status, 404);
    let page = get(port, "/");
    assert!(page.status == 200 && page.head.contains("content-security-policy") && page.body.contains("<title>Search"));
    let indexes = get(port, "/indexes").json();
    assert_eq!((&indexes["indexes"][0]["index"], &indexes["indexes"][0]["text"][0]), (&"jobs".into(), &"title".into()));

    // The reason is for the log: it names servers.
    stage.sql("alter table jobs rename column tags to labels").await;
    let broken = get(port, "/search?q=invoice");
    assert!(
        broken.status >= 500 && !broken.body.contains("127.0.0.1") && !broken.body.contains("column"),
        "{}",
        broken.body
    );
    stage.sql("alter table jobs rename column labels to tags").await;
    assert_eq!(get(port, "/search?q=invoice").status, 200, "and it goes on once that is mended");
}

#[tokio::test]
async fn a_search_that_takes_too_long_in_the_database_says_so_and_stops_there() {
    let stage = searchable().await;
    stage.runner.write("jobs.sql", &format!("{PROJECTION} cross join lateral (select pg_sleep(5)) as slow"));
    stage.sql(ROWS).await;
    let nowhere = format!("elasticsearch.url=http://127.0.0.1:{}", closed_port());
    let (_running, port) =
        start(&stage, "search", &["--set", &nowhere, "--set", "search.postgres.statement_timeout=1s"]);
    let began = Instant::now();
    let answer = get(port, "/search?q=invoice");
    assert_eq!((answer.status, &answer.json()["error"]["kind"]), (422, &"too_large".into()), "{}", answer.body);
    assert!(
        answer.body.contains("ask for less")
            && !answer.body.contains("statement_timeout")
            && began.elapsed() < Duration::from_secs(3)
    );
    let still = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and pid <> pg_backend_pid()";
    // A row takes five seconds, and there are fifty.
    while stage.count(still).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the database goes on with it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn more_searches_than_may_be_under_way_are_turned_away_and_those_under_way_are_answered() {
    let stage = searchable().await;
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("elasticsearch.url=http://{}", silent.local_addr().unwrap());
    let (running, port) =
        start(&stage, "search", &["--set", &url, "--set", "search.concurrency=1", "--set", "search.budget=3s"]);
    let first = std::thread::spawn(move || get(port, "/search"));
    // It is under way once it has come here.
    drop(silent.accept().unwrap());
    let second = get(port, "/search");
    assert_eq!((second.status, &second.json()["error"]["kind"]), (503, &"unavailable".into()));
    assert!(second.head.contains("retry-after: 1"), "{}", second.head);
    // What is under way at the end is answered.
    running.signal("TERM");
    let first = first.join().unwrap();
    assert_eq!((first.status, &first.json()["source"]), (200, &"postgres".into()), "{}", first.body);
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test]
async fn the_indexes_it_asks_for_are_made_and_searches_use_them() {
    let stage = searchable().await;
    let told = stage.runner.run(&["search-indexes", "jobs"]);
    assert_eq!(told.code, Some(0), "{}", told.all());
    let plan = &told.out;
    for part in
        ["search_jobs_words", "to_tsvector('simple'", "search_jobs_tags", "search_jobs_n", "concurrently", "id: "]
    {
        assert!(plan.contains(part), "{part} is not in:\n{plan}");
    }
    stage.sql("insert into jobs (id, title, tags, n) select i, 'invoice ' || i || case when i % 5000 = 0 then ' rare' else '' end,
               array['t' || i % 5000], i from generate_series(1, 60000) i; analyze jobs").await;
    // What an ended try has left is taken away.
    stage.sql("create index search_jobs_n on jobs (n); update pg_index set indisvalid = false where indexrelid = 'search_jobs_n'::regclass").await;
    let made = stage.runner.run(&["search-indexes", "--apply", "--json"]);
    assert_eq!(made.code, Some(0), "{}", made.all());
    assert!(made.json()["indexes"].as_array().unwrap().iter().all(|index| index["there"] == true));
    assert!(stage.runner.run(&["search-indexes"]).out.contains("(there)"));

    let nowhere = format!("elasticsearch.url=http://127.0.0.1:{}", closed_port());
    let (_running, port) = start(&stage, "search", &["--set", &nowhere]);
    for (query, index) in
        [("q=rare", "search_jobs_words"), ("q=tags:t77", "search_jobs_tags"), ("q=n:%3E59990", "search_jobs_n")]
    {
        let answer = get(port, &format!("/search?{query}")).json();
        assert_eq!((&answer["source"], answer["total"].as_u64().unwrap() > 0), (&"postgres".into(), true), "{answer}");
        // Told to the statistics when the connection is idle.
        let scans = format!("select idx_scan from pg_stat_user_indexes where indexrelname like '{index}\\_%'");
        let by = Instant::now() + BOUND;
        while stage.count(&scans).await == 0 {
            assert!(Instant::now() < by, "{index} is not used");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_search_section_that_does_not_fit_is_refused_by_name() {
    let runner = crate::runner::Runner::nowhere().with("jobs.json", MAPPING);
    let refused = |more: &str, told: &str| {
        runner.write("jobs.sql", PROJECTION);
        runner.write("sync.toml", &format!("[indexes.jobs]\nprojection = \"jobs.sql\"\n{more}"));
        let ended = runner.run(&["run"]);
        assert_eq!(ended.code, Some(2), "{}", ended.all());
        assert!(ended.err.contains(told), "{told} is not in:\n{}", ended.err);
    };
    let mapped = "mapping = \"jobs.json\"\n[indexes.jobs.search]\n";
    refused("[indexes.jobs.search]\nfields = \"n\"\n", "the index needs a mapping");
    refused(
        &format!("{mapped}fields = \"none\"\n"),
        "indexes.jobs.search.fields (sync.toml line 5): none is not in the mapping",
    );
    refused(
        &format!("{mapped}text = \"tags\"\n"),
        "indexes.jobs.search.text (sync.toml line 5): tags is of type keyword",
    );
    refused(&format!("{mapped}key = \"n\"\n"), "indexes.jobs.search.key (sync.toml line 5): n is not of type keyword");
    refused("[search]\nlisten = \"nowhere\"\n", "search.listen = \"nowhere\" (sync.toml line 4): expected an address");
    refused("[search]\nbudget = \"200ms\"\n", "search.breaker.slow: is longer than search.budget");
    refused(
        "[search]\nattempt = \"250ms\"\n",
        "search.attempt (sync.toml line 4): is not shorter than search.breaker.slow",
    );
    let alone =
        runner.with("sync.toml", "[indexes.jobs]\nprojection = \"jobs.sql\"\n").run(&["run", "--roles", "search"]);
    assert!(alone.code == Some(2) && alone.err.contains("[indexes.NAME.search]"), "{}", alone.all());
}
