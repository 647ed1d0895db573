//! Answers that a healthy server cannot be made to give.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sync_core::ErrorKind;
use sync_core::adapter::elasticsearch::{Auth, ElasticsearchConfig, ElasticsearchSink, IndexConfig, check};
use sync_core::port::Sink;
use sync_core::telemetry::trace::{self, TraceContext};
use sync_core::testkit::{HttpReply, HttpRequest, HttpResponder};

use super::{config, delete, error, put, said};

fn answer(status: u16, body: &str) -> HttpReply {
    HttpReply::Answer { status, body: body.into() }
}

/// Says what Elasticsearch says of an index that is there as configured.
fn prepared(request: &HttpRequest) -> HttpReply {
    match request.method.as_str() {
        "GET" if request.path.starts_with("/_alias/") => {
            answer(200, &json!({ "jobs-000001": { "aliases": { "jobs": {} } } }).to_string())
        }
        "GET" if request.path.contains("/_mapping") => answer(200, "{}"),
        "GET" => answer(200, &json!({ "jobs-000001": { "settings": { "index.gc_deletes": "1h" } } }).to_string()),
        _ => answer(200, r#"{"acknowledged":true}"#),
    }
}

/// A server that says `reply` to bulks, given how many there were before.
async fn cluster(reply: impl Fn(usize) -> HttpReply + Send + Sync + 'static) -> HttpResponder {
    let bulks = AtomicUsize::new(0);
    HttpResponder::start(move |request| {
        if request.path.contains("/_bulk") { reply(bulks.fetch_add(1, Ordering::Relaxed)) } else { prepared(request) }
    })
    .await
}

fn sink(config: &ElasticsearchConfig) -> ElasticsearchSink {
    ElasticsearchSink::new(config, IndexConfig::new("jobs", "{}")).unwrap()
}

const DONE: &str = r#"{"items":[{"index":{"status":201}},{"delete":{"status":200}}]}"#;

async fn bulk(config: &ElasticsearchConfig) -> Result<Vec<&'static str>, sync_core::Error> {
    let outcomes = sink(config).apply(&[put("a", 1, r#"{"n":1}"#), delete("b", 1)]).await?;
    Ok(said(&outcomes))
}

#[tokio::test]
async fn an_answer_to_a_whole_bulk_is_of_the_kind_of_its_cause() {
    let reason = |error_type: &str| json!({ "error": { "type": error_type, "reason": "why" } }).to_string();
    let unavailable = [
        answer(429, &reason("es_rejected_execution_exception")),
        answer(429, &reason("circuit_breaking_exception")),
        answer(503, &reason("cluster_block_exception")),
        answer(503, ""),
        answer(502, "<html>502 Bad Gateway</html>"),
        answer(504, "upstream"),
        answer(500, "null"),
        answer(200, ""),
        answer(200, "<html>welcome</html>"),
        answer(200, "{}"),
        answer(200, &DONE[..DONE.len() - 4]),
        answer(200, r#"{"items":[{"index":{"status":201}}]}"#),
        answer(200, r#"{"items":[{"delete":{"status":200}},{"index":{"status":201}}]}"#),
        HttpReply::CutOff { status: 200, body: DONE.into(), sent: 20 },
        HttpReply::CutOff { status: 200, body: DONE.into(), sent: 0 },
        HttpReply::Reset,
        HttpReply::Raw(b"SSH-2.0-server\r\n".to_vec()),
        HttpReply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz".to_vec()),
        HttpReply::Raw(Vec::new()),
    ];
    let others = [
        (answer(400, &reason("illegal_argument_exception")), ErrorKind::TooLarge),
        (answer(400, ""), ErrorKind::TooLarge),
        (answer(413, ""), ErrorKind::TooLarge),
        (answer(401, &reason("security_exception")), ErrorKind::Denied),
        (answer(403, "<html>forbidden</html>"), ErrorKind::Denied),
        (answer(403, &reason("cluster_block_exception")), ErrorKind::Blocked),
        (answer(404, "<html>not here</html>"), ErrorKind::Configuration),
        (answer(405, r#"{"error":"Incorrect HTTP method","status":405}"#), ErrorKind::Configuration),
    ];
    let all = unavailable.map(|reply| (reply, ErrorKind::Unavailable)).into_iter().chain(others);
    for (reply, kind) in all {
        let server = cluster({
            let reply = reply.clone();
            move |_| reply.clone()
        })
        .await;
        let failed = bulk(&config(&[server.url()])).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{reply:?}: {failed}");
        assert!(failed.to_string().contains(&server.url()), "the address is told: {failed}");
    }
}

#[tokio::test]
async fn an_answer_to_one_write_is_of_the_kind_of_its_cause() {
    let items = |index: &str, delete: &str| format!(r#"{{"items":[{{"index":{index}}},{{"delete":{delete}}}]}}"#);
    let failed = |status: u16, error_type: &str| {
        format!(r#"{{"status":{status},"error":{{"type":"{error_type}","reason":"why"}}}}"#)
    };
    for (index, delete, expected) in [
        (
            failed(429, "es_rejected_execution_exception"),
            failed(503, "unavailable_shards_exception"),
            ["unavailable"; 2],
        ),
        (failed(409, "version_conflict_engine_exception"), r#"{"status":404}"#.into(), ["stale"; 2]),
        (failed(500, "null_pointer_exception"), failed(418, "of_next_year"), ["unexplained"; 2]),
        (failed(403, "security_exception"), failed(429, "cluster_block_exception"), ["denied", "blocked"]),
        (r#"{"status":201}"#.into(), failed(409, "not_a_version_conflict"), ["applied", "unexplained"]),
    ] {
        let body = items(&index, &delete);
        let server = cluster(move |_| answer(200, &body)).await;
        assert_eq!(bulk(&config(&[server.url()])).await.unwrap(), expected, "{index} {delete}");
    }
}

#[tokio::test]
async fn a_missing_index_is_created_once_and_only_its_writes_are_sent_again() {
    let missing = r#"{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index"}}"#;
    let half = format!(r#"{{"items":[{{"index":{{"status":201}}}},{{"delete":{missing}}}]}}"#);
    let server = cluster(move |before| match before {
        0 => answer(200, &half),
        _ => answer(200, r#"{"items":[{"delete":{"status":404}}]}"#),
    })
    .await;
    assert_eq!(bulk(&config(&[server.url()])).await.unwrap(), ["applied", "stale"]);

    let both = format!(r#"{{"items":[{{"index":{missing}}},{{"delete":{missing}}}]}}"#);
    let server = cluster(move |before| answer(200, if before < 2 { &both } else { DONE })).await;
    let failed = bulk(&config(&[server.url()])).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
}

#[tokio::test]
async fn what_a_cluster_is_is_asked_once_and_again_only_while_it_cannot_answer() {
    let asked = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&asked);
    let server = HttpResponder::start(move |request| {
        if request.path == "/" {
            return match times.fetch_add(1, Ordering::Relaxed) {
                0 => answer(503, ""),
                _ => answer(200, r#"{"version":{"distribution":"opensearch","number":"2.19.6"}}"#),
            };
        }
        let guarded = r#"{"items":[{"update":{"status":404}},{"index":{"status":201}},{"delete":{"status":200}}]}"#;
        if request.path.contains("/_bulk") { answer(200, guarded) } else { prepared(request) }
    })
    .await;
    let (sink, writes) = (sink(&config(&[server.url()])), [put("a", 1, r#"{"n":1}"#), delete("b", 1)]);
    assert_eq!(sink.apply(&writes).await.unwrap_err().kind(), ErrorKind::Unavailable);
    for _ in 0..2 {
        assert_eq!(said(&sink.apply(&writes).await.unwrap()), ["applied", "applied"]);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_unavailable_and_the_other_is_asked_next() {
    let silent = cluster(|_| HttpReply::Silence).await;
    let well = cluster(|_| answer(200, DONE)).await;
    let request_timeout = Duration::from_millis(300);
    let alone = config(&[silent.url()]).request_timeout(request_timeout);
    let failed = bulk(&alone).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert!(failed.to_string().contains("elasticsearch.request_timeout"), "{failed}");

    let sink = sink(&config(&[silent.url(), well.url()]).request_timeout(request_timeout));
    sink.prepare().await.unwrap();
    let mut failures = 0;
    for _ in 0..6 {
        match sink.apply(&[put("a", 1, r#"{"n":1}"#), delete("b", 1)]).await {
            Ok(outcomes) => assert_eq!(said(&outcomes), ["applied", "applied"]),
            Err(failed) => {
                assert_eq!(failed.kind(), ErrorKind::Unavailable);
                failures += 1;
            }
        }
    }
    assert_eq!(failures, 1, "a node that was silent once is left alone for a while");
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_goes_to_the_next_node() {
    let resets = cluster(|_| HttpReply::Reset).await;
    let well = cluster(|_| answer(200, DONE)).await;
    for urls in [[resets.url(), well.url()], [well.url(), resets.url()]] {
        assert_eq!(bulk(&config(&urls)).await.unwrap(), ["applied", "applied"]);
    }
}

#[tokio::test]
async fn a_document_that_is_refused_says_why_and_an_outage_of_setting_up_is_an_outage() {
    let item = r#"{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:6] failed to parse field [n]",
        "caused_by":{"type":"number_format_exception","reason":"For input string: \"much\""}}}"#;
    let body = format!(r#"{{"items":[{{"index":{item}}}]}}"#);
    let server = cluster(move |_| answer(200, &body)).await;
    let outcomes = sink(&config(&[server.url()])).apply(&[put("a", 1, r#"{"n":"much"}"#)]).await.unwrap();
    let (kind, words) = error(&outcomes[0]);
    assert_eq!(kind, ErrorKind::Refused);
    for told in ["\"a\"", "[n]", "For input string: \"much\""] {
        assert!(words.contains(told), "{words}");
    }

    for (reply, kind) in [
        (answer(503, ""), ErrorKind::Unavailable),
        (answer(401, ""), ErrorKind::Denied),
        (answer(200, "[]"), ErrorKind::Unavailable),
        (answer(200, r#"{"acknowledged":false}"#), ErrorKind::Unavailable),
    ] {
        let server = HttpResponder::start(
            move |request| {
                if request.method == "PUT" { reply.clone() } else { prepared(request) }
            },
        )
        .await;
        assert_eq!(sink(&config(&[server.url()])).prepare().await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_request_bears_the_trace_it_is_made_for_and_no_other_bears_one() {
    let seen = Arc::<Mutex<Vec<HttpRequest>>>::default();
    let requests = Arc::clone(&seen);
    let server = HttpResponder::start(move |request| {
        requests.lock().unwrap().push(request.clone());
        if request.path.contains("/_bulk") { answer(200, DONE) } else { prepared(request) }
    })
    .await;
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let config = config(&[server.url()]);
    trace::within(TraceContext::parse(text), bulk(&config)).await.unwrap();
    bulk(&config).await.unwrap();
    let seen = seen.lock().unwrap();
    let bulks = seen.iter().filter(|request| request.path.contains("/_bulk"));
    let told = |request: &HttpRequest| {
        let header = request.headers.iter().find(|(name, _)| name == trace::HEADER);
        header.map(|(_, value)| value.clone())
    };
    assert_eq!(bulks.map(told).collect::<Vec<_>>(), [Some(text.to_owned()), None]);
}

#[tokio::test]
async fn a_check_tells_strangers_and_closed_doors_apart() {
    for (reply, kind) in [
        (answer(200, "<html>welcome</html>"), ErrorKind::Configuration),
        (answer(404, "nothing here"), ErrorKind::Configuration),
        (answer(401, r#"{"error":{"type":"security_exception","reason":"missing credentials"}}"#), ErrorKind::Denied),
        (answer(503, r#"{"error":{"type":"master_not_discovered_exception"}}"#), ErrorKind::Unavailable),
    ] {
        let server = HttpResponder::start(move |_| reply.clone()).await;
        let auth = Auth::Basic { username: "sync".into(), password: "hunter2".into() };
        let failed = check(&config(&[server.url()]).auth(auth)).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{failed}");
        assert!(!failed.to_string().contains("hunter2"), "{failed}");
    }
}
