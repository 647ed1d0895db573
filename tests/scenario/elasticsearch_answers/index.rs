//! The index is closed, blocked or gone.

use sync_core::port::Sink;
use sync_core::testkit::ElasticsearchScratch;
use sync_core::{ErrorKind, Remedy};

use super::{STRICT, delete, error, put, said, sink};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_index_is_blocked_until_it_is_open_again() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    let sink = sink(scratch.url(), &alias, STRICT);
    sink.prepare().await.unwrap();
    assert_eq!(scratch.request("POST", &format!("/{alias}/_close"), "").0, 200);

    let writes = [put("job-1", 1, r#"{"n":1}"#), delete("job-2", 1)];
    let outcomes = sink.apply(&writes).await.unwrap();
    assert_eq!(said(&outcomes), ["blocked", "blocked"]);
    assert_eq!(error(&outcomes[0]).0.remedy(), Remedy::Retry);
    assert_eq!(sink.fetch(&["job-1".into()]).await.unwrap_err().kind(), ErrorKind::Blocked);
    assert_eq!(sink.count().await.unwrap_err().kind(), ErrorKind::Blocked);
    sink.prepare().await.unwrap();

    assert_eq!(scratch.request("POST", &format!("/{alias}/_open"), "").0, 200);
    assert_eq!(said(&sink.apply(&writes).await.unwrap()), ["applied", "stale"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_takes_no_writes_is_blocked_until_it_does() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    let sink = sink(scratch.url(), &alias, STRICT);
    sink.prepare().await.unwrap();
    let set = |block: &str, value: &str| {
        let body = format!(r#"{{"index.blocks.{block}":{value}}}"#);
        assert_eq!(scratch.request("PUT", &format!("/{alias}/_settings"), &body).0, 200);
    };
    // The last is what a full disk does.
    for (version, block) in (1..).zip(["write", "read_only", "read_only_allow_delete"]) {
        let writes = [put("job-1", version, r#"{"n":1}"#), delete("job-2", version)];
        set(block, "true");
        assert_eq!(said(&sink.apply(&writes).await.unwrap()), ["blocked", "blocked"], "{block}");
        set(block, "null");
        assert_eq!(said(&sink.apply(&writes).await.unwrap()), ["applied", "stale"], "{block}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_deleted_under_us_is_created_from_the_configured_mapping() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    let sink = sink(scratch.url(), &alias, STRICT);
    sink.prepare().await.unwrap();
    let index = format!("{alias}-000001");
    let remove = || assert_eq!(scratch.request("DELETE", &format!("/{index}"), "").0, 200);
    let as_configured = || {
        assert_eq!(scratch.indexes(), std::slice::from_ref(&index));
        let (status, found) = scratch.request("GET", &format!("/{alias}/_mapping"), "");
        assert_eq!(status, 200);
        let configured: serde_json::Value = serde_json::from_str(STRICT).unwrap();
        let (found, configured) = (&found[&index]["mappings"], &configured["mappings"]);
        assert_eq!((&found["dynamic"], &found["properties"]), (&configured["dynamic"], &configured["properties"]));
    };

    remove();
    let writes = [put("job-1", 1, r#"{"n":1}"#), delete("job-2", 1), put("job-3", 1, r#"{"other":1}"#)];
    assert_eq!(said(&sink.apply(&writes).await.unwrap()), ["applied", "stale", "refused"]);
    as_configured();

    remove();
    assert_eq!(said(&sink.apply(&[delete("job-1", 2)]).await.unwrap()), ["stale"]);
    as_configured();

    remove();
    assert_eq!(sink.fetch(&["job-1".into()]).await.unwrap(), [None]);
    assert_eq!(sink.count().await.unwrap(), 0);
    as_configured();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_anybody_creates_an_index_in_place_of_a_deleted_one() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    sink(scratch.url(), &alias, STRICT).prepare().await.unwrap();
    assert_eq!(scratch.request("DELETE", &format!("/{alias}-000001"), "").0, 200);
    for name in [alias.clone(), format!("{alias}-000001"), format!("{alias}-000002")] {
        for action in [
            "{\"delete\":{\"_id\":\"a\",\"version\":1,\"version_type\":\"external\"}}\n",
            "{\"index\":{\"_id\":\"a\"}}\n{\"n\":1}\n",
        ] {
            let (_, answer) = scratch.request("POST", &format!("/{name}/_bulk"), action);
            let item = answer["items"][0].as_object().unwrap().values().next().unwrap();
            assert_eq!(item["status"], 404, "{name}: {answer}");
        }
    }
    assert_eq!(scratch.indexes(), [""; 0]);
}
