//! One document is at fault, or the request is too large for the cluster.

use sync_core::ErrorKind;
use sync_core::port::Sink;
use sync_core::testkit::ElasticsearchScratch;

use super::{STRICT, error, put, said, sink};

#[tokio::test(flavor = "multi_thread")]
async fn a_field_outside_a_strict_mapping_is_refused_by_its_name_and_the_others_are_applied() {
    let scratch = ElasticsearchScratch::new();
    let sink = sink(scratch.url(), &scratch.name("jobs"), STRICT);
    sink.prepare().await.unwrap();
    let writes = [
        put("good", 1, r#"{"n":1}"#),
        put("unknown", 1, r#"{"salary":1}"#),
        put("not-a-number", 1, r#"{"n":"much"}"#),
        put("cut-off", 1, r#"{"n":{}"#),
        put("two", 1, r#"{"n":1}{"n":2}"#),
        put("good-too", 1, r#"{"n":2}"#),
    ];
    let outcomes = sink.apply(&writes).await.unwrap();
    assert_eq!(said(&outcomes), ["applied", "refused", "refused", "refused", "refused", "applied"]);
    let (_, unknown) = error(&outcomes[1]);
    assert!(unknown.contains("[salary]") && unknown.contains("strict_dynamic_mapping_exception"), "{unknown}");
    let (_, not_a_number) = error(&outcomes[2]);
    assert!(not_a_number.contains("failed to parse field [n] of type [integer]"), "{not_a_number}");
    assert!(not_a_number.contains("\"not-a-number\""), "the key is told: {not_a_number}");
    assert_eq!(sink.count().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_the_cluster_takes_is_too_large() {
    let scratch = ElasticsearchScratch::new();
    let sink = sink(scratch.url(), &scratch.name("jobs"), r#"{"mappings":{"enabled":false}}"#);
    sink.prepare().await.unwrap();
    // The server's limit is 100 MiB.
    let larger = format!(r#"{{"n":"{}"}}"#, "x".repeat(100 << 20));
    let failed = sink.apply(&[put("large", 1, &larger)]).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::TooLarge, "{failed}");
    drop(larger);
    let outcomes = sink.apply(&[put("small", 1, r#"{"n":1}"#)]).await.unwrap();
    assert_eq!(said(&outcomes), ["applied"]);
}
