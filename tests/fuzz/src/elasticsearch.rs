//! Answers of Elasticsearch, and documents on their way there.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{FuzzTarget, http_reply};
use sync_core::ErrorKind;
use sync_core::Version;
use sync_core::adapter::elasticsearch::{
    ElasticsearchConfig, ElasticsearchSearcher, ElasticsearchSearcherConfig, ElasticsearchSink, IndexConfig, read_bulk,
    write_bulk,
};
use sync_core::port::{Outcome, Searcher, Sink, Write};
use sync_core::query::{Cursor, MAX_LIMIT, Order, Query};
use sync_core::testkit::{HttpReply, HttpRequest, HttpResponder};
use sync_core::testkit::{SEARCHED_MAPPING, searched_fields};

fn write(key: &str, document: Option<&str>) -> Write {
    Write { key: key.to_owned(), version: Version::from_external(7), document: document.map(str::to_owned) }
}

pub(super) const BULK: FuzzTarget = FuzzTarget {
    name: "bulk_answer",
    examples: &[
        r#"{"items":[{"index":{"status":201}},{"delete":{"status":404}},{"index":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"current version [8] is higher"}}}]}"#,
        r#"{"items":[{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"failed to parse","caused_by":{"type":"x","reason":"y"}}}},{"delete":{"status":200}},{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}]}"#,
    ],
    refused: &["", r#"{"items":[]}"#, r#"{"items":[{"index":{"status":201}}]}"#],
    run: bulk,
};

/// An answer says of each write what became of it, or it is no answer. Nothing is taken for applied that is not said to be.
fn bulk(bytes: &[u8]) -> bool {
    let writes = [write("a", Some("{}")), write("b", None), write("c", Some("{}"))];
    match read_bulk(bytes.to_vec().into(), &writes) {
        Ok(outcomes) => {
            let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied)).count();
            // What nobody reads need not be text.
            let said: Value = serde_json::from_str(&String::from_utf8_lossy(bytes)).unwrap_or_default();
            let items = said["items"].as_array().cloned().unwrap_or_default();
            let statuses = items.iter().filter_map(|item| item.as_object()?.values().next()?["status"].as_u64());
            let fine = statuses.filter(|status| (200..300).contains(status)).count();
            assert!(outcomes.len() <= writes.len() && applied <= fine, "{outcomes:?}");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            false
        }
    }
}

pub(super) const DOCUMENT: FuzzTarget = FuzzTarget {
    name: "document",
    examples: &["{\n  \"n\": 1\r\n}", "{\"a\":[1,2,{\"b\":\"\\n\"}],\"é\":null}", "[]\n"],
    refused: &["{\"a\n\":1}", "{\"n\":1}\n{\"n\":2}"],
    run: document,
};

/// Whatever a document holds, it is refused, or the lines of the bulk stay those of the writes.
fn document(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let writes = [write("before", Some("{}")), write(text, Some(text)), write("behind", None)];
    match write_bulk(&writes) {
        Ok(body) => {
            let lines = body.split(|byte| *byte == b'\n').count();
            assert_eq!(lines, 2 + 2 + 1 + 1, "{}", String::from_utf8_lossy(&body));
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            false
        }
    }
}

pub(super) const ANSWER: FuzzTarget = FuzzTarget {
    name: "elasticsearch_answer",
    examples: &[
        r#"0{"took":1,"timed_out":false,"hits":{"total":{"value":2,"relation":"eq"},"hits":[{"_index":"x","_id":"a","_version":7,"_source":{"id":"a"},"sort":[3,"a"],"fields":{"priority":[3]}},{"_id":"b","_version":8,"_source":{},"sort":[2,"b"],"fields":{"priority":[2]}}]},"aggregations":{"f0":{"doc_count_error_upper_bound":0,"buckets":[{"key":"OPEN","doc_count":2}]},"all":{"doc_count":2}}}"#,
        r#"0{"docs":[{"_id":"a","found":true,"_version":7,"_source":{"n":1}},{"_id":"b","found":false}]}"#,
        r#"0{"items":[{"index":{"status":201}},{"delete":{"status":404}}]}"#,
        r#"0{"count":7,"_shards":{"total":1,"successful":1,"failed":0}}"#,
    ],
    refused: &[
        r#"3{"error":{"root_cause":[],"type":"search_phase_execution_exception","reason":"all shards failed","caused_by":{"type":"y","reason":"z"}},"status":400}"#,
        "6{\"error\":\"too many\",\"status\":429}",
        "~HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    run: |bytes| answer(bytes, prepared),
};

pub(super) const SETUP: FuzzTarget = FuzzTarget {
    name: "elasticsearch_setup",
    examples: &[],
    refused: &[
        r#"0{"x-000001":{"aliases":{"x":{"is_write_index":true}},"mappings":{"_meta":{"sync":{}}},"settings":{"index.gc_deletes":"1h"}}}"#,
        r#"0{"acknowledged":true}"#,
    ],
    run: |bytes| answer(bytes, |_| None),
};

/// What a cluster says to whoever only sees that the index is as it should be.
fn prepared(request: &HttpRequest) -> Option<&'static str> {
    if request.method == "PUT" {
        Some(r#"{"acknowledged":true}"#)
    } else if request.path.starts_with("/_alias") {
        Some(r#"{"x-000001":{"aliases":{"x":{"is_write_index":true}}}}"#)
    } else if request.path.contains("/_mapping") {
        Some(r#"{"x-000001":{"mappings":{"_meta":{}}}}"#)
    } else if request.path.contains("/_refresh") {
        Some(r#"{"_shards":{"total":1,"successful":1,"failed":0}}"#)
    } else if request.path.contains("/_settings") {
        Some(r#"{"x-000001":{"settings":{"index.gc_deletes":"1h"}}}"#)
    } else {
        None
    }
}

/// What is answered whatever is being tried.
type Prepared = fn(&HttpRequest) -> Option<&'static str>;

/// A cluster that gives every request the same answer, unless it is prepared for it, and clients of it.
struct Cluster {
    runtime: Runtime,
    answer: Arc<Mutex<(Vec<u8>, Prepared)>>,
    _server: HttpResponder,
    sink: ElasticsearchSink,
    searcher: ElasticsearchSearcher,
}

impl Cluster {
    fn start() -> Self {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("a runtime: {error}"),
        };
        let answer: Arc<Mutex<(Vec<u8>, Prepared)>> = Arc::new(Mutex::new((Vec::new(), |_| None)));
        let said = Arc::clone(&answer);
        let server = runtime.block_on(HttpResponder::start(move |request| match said.lock() {
            Ok(said) => match said.1(request) {
                Some(body) => http_reply(format!("0{body}").as_bytes()),
                None => http_reply(&said.0),
            },
            Err(_) => HttpReply::Reset,
        }));
        let (limit, budget) = (Duration::from_millis(300), Duration::from_millis(300));
        let cluster = ElasticsearchConfig::new([server.url()]).request_timeout(limit);
        let index = IndexConfig::new("jobs", SEARCHED_MAPPING).alias("x");
        let config = ElasticsearchSearcherConfig::new("x").budget(budget).attempt(budget);
        let made = ElasticsearchSink::new(&cluster, index)
            .and_then(|sink| Ok((sink, ElasticsearchSearcher::new(&cluster, config, searched_fields())?)));
        match made {
            Ok((sink, searcher)) => Self { runtime, answer, _server: server, sink, searcher },
            Err(error) => panic!("{error}"),
        }
    }
}

thread_local! {
    static CLUSTER: RefCell<Option<Cluster>> = const { RefCell::new(None) };
}

/// Whatever is answered: it is an error, or what was asked for, of the size that was asked for.
fn answer(bytes: &[u8], prepared: Prepared) -> bool {
    CLUSTER.with_borrow_mut(|cluster| {
        let cluster = cluster.get_or_insert_with(Cluster::start);
        if let Ok(mut answer) = cluster.answer.lock() {
            *answer = (bytes.to_vec(), prepared);
        }
        cluster.runtime.block_on(asked(&cluster.sink, &cluster.searcher))
    })
}

/// Whether anything was understood.
async fn asked(sink: &ElasticsearchSink, searcher: &ElasticsearchSearcher) -> bool {
    let writes = [write("a", Some("{}")), write("b", None)];
    let applied = sink.apply(&writes).await;
    assert!(applied.as_ref().is_ok_and(|outcomes| outcomes.len() == writes.len()) || applied.is_err());
    let stored = sink.fetch(&["a".to_owned(), "b".to_owned()]).await;
    assert!(stored.as_ref().is_ok_and(|stored| stored.len() == 2) || stored.is_err());
    let count = sink.count().await;
    drop(sink.history().await);
    let order = Some(Order::By { field: "priority".to_owned(), descending: true });
    let query = Query { limit: 1, order, facets: vec!["status".to_owned()], ..Query::default() };
    let found = searcher.search(&query).await;
    if let Ok(found) = &found {
        assert!(found.hits.len() <= query.limit.min(MAX_LIMIT) && found.facets.len() == 1, "{found:?}");
        if let Some(next) = &found.next {
            assert_eq!(Cursor::parse(&next.to_string()).ok().as_ref(), Some(next), "the next page can be asked for");
        }
    }
    applied.is_ok() || stored.is_ok() || count.is_ok() || found.is_ok()
}
