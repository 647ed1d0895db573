//! An index is set up, found set up otherwise, or cannot be set up as configured.

use serde_json::json;
use sync_core::ErrorKind;
use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig, Product, check};
use sync_core::port::{History, Sink};
use sync_core::testkit::ElasticsearchScratch;

use super::{STRICT, config, put, said, sink};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_index_is_green_on_one_node_and_remembers_deletes_for_an_hour() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    let index = format!("{alias}-000001");
    sink(scratch.url(), &alias, STRICT).prepare().await.unwrap();
    let (_, found) = scratch.request("GET", &format!("/{alias}/_settings?flat_settings=true"), "");
    assert_eq!(found[&index]["settings"]["index.gc_deletes"], "1h");
    let (_, health) =
        scratch.request("GET", &format!("/_cluster/health/{alias}?wait_for_status=green&timeout=30s"), "");
    assert_eq!(health["status"], "green");
    let (_, found) = scratch.request("GET", &format!("/_alias/{alias}"), "");
    assert_eq!(found, json!({ index: { "aliases": { alias: { "is_write_index": true } } } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_settings_win_over_ours() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    let mapping = r#"{"settings":{"index":{"gc_deletes":"2h","number_of_replicas":2}}}"#;
    let configured = sink(scratch.url(), &alias, mapping);
    configured.prepare().await.unwrap();
    configured.prepare().await.unwrap();
    let (_, found) = scratch.request("GET", &format!("/{alias}/_settings?flat_settings=true"), "");
    let settings = &found[format!("{alias}-000001")]["settings"];
    assert_eq!(settings["index.gc_deletes"], "2h");
    assert_eq!(settings["index.number_of_replicas"], "2");
    assert_eq!(settings["index.auto_expand_replicas"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_more_is_added_and_a_field_changed_is_a_reindex() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    sink(scratch.url(), &alias, STRICT).prepare().await.unwrap();

    let more = r#"{"mappings":{"dynamic":"strict","properties":{"n":{"type":"integer"},"title":{"type":"text"}}}}"#;
    let larger = sink(scratch.url(), &alias, more);
    larger.prepare().await.unwrap();
    assert_eq!(said(&larger.apply(&[put("job-1", 1, r#"{"n":1,"title":"a"}"#)]).await.unwrap()), ["applied"]);

    for (mapping, named) in [
        (r#"{"mappings":{"properties":{"n":{"type":"keyword"}}}}"#, "[n]"),
        (r#"{"mappings":{"properties":{"title":{"type":"text","analyzer":"whitespace"}}}}"#, "[title]"),
        (r#"{"mappings":{"properties":{"m":{"type":"text","analyzer":"absent"}}}}"#, "[absent]"),
    ] {
        let failed = sink(scratch.url(), &alias, mapping).prepare().await.unwrap_err();
        let told = failed.to_string();
        assert_eq!(failed.kind(), ErrorKind::Configuration, "{told}");
        let setting = format!("indexes.{alias}.mapping");
        assert!(told.contains(named) && told.contains(&setting) && told.contains("sync-runner reindex"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_kept_beside_what_others_keep_in_the_mapping() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("jobs");
    let with = |meta: &str| {
        let mapping = format!(
            r#"{{"mappings":{{"dynamic":"strict","_meta":{meta},"properties":{{"n":{{"type":"integer"}}}}}}}}"#
        );
        sink(scratch.url(), &alias, &mapping)
    };
    let held = || {
        let (_, found) = scratch.request("GET", &format!("/{alias}/_mapping"), "");
        let mapping = found[format!("{alias}-000001")]["mappings"].clone();
        assert_eq!((&mapping["dynamic"], &mapping["properties"]["n"]["type"]), (&json!("strict"), &json!("integer")));
        mapping["_meta"].clone()
    };
    let first = with(r#"{"owner":"search"}"#);
    first.prepare().await.unwrap();
    assert_eq!(held(), json!({ "owner": "search", "sync-core": { "made": true } }));
    first.record(&History { epoch: 2, token: "t".to_owned() }).await.unwrap();
    let ours = json!({ "made": true, "epoch": 2, "history": "t" });
    assert_eq!(held(), json!({ "owner": "search", "sync-core": ours }));

    let by_hand = json!({ "_meta": { "owner": "search", "sync-core": ours, "by_hand": [1] } });
    assert_eq!(scratch.request("PUT", &format!("/{alias}/_mapping"), &by_hand.to_string()).0, 200);
    let second = with(r#"{"owner":"jobs","more":1}"#);
    second.prepare().await.unwrap();
    assert_eq!(held(), json!({ "owner": "jobs", "more": 1, "sync-core": ours, "by_hand": [1] }));
    assert_eq!(second.history().await.unwrap().unwrap().epoch, 2);
    with("{}").prepare().await.unwrap();
    assert_eq!(held(), json!({ "owner": "jobs", "more": 1, "sync-core": ours, "by_hand": [1] }));

    // An index that was deleted takes it with it.
    assert_eq!(scratch.request("DELETE", &format!("/{alias}-000001"), "").0, 200);
    assert_eq!(second.history().await.unwrap(), None);
    second.record(&History { epoch: 3, token: "u".to_owned() }).await.unwrap();
    assert_eq!(held()["sync-core"], json!({ "made": true, "epoch": 3, "history": "u" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_elasticsearch_does_not_take_is_a_configuration_error() {
    let scratch = ElasticsearchScratch::new();
    for (mapping, told) in [
        (r#"{"settings":{"number_of_shardz":2}}"#, "number_of_shardz"),
        (r#"{"mappings":{"properties":{"n":{"type":"nope"}}}}"#, "[nope]"),
        (r#"{"mappings":{"propertiez":{}}}"#, "propertiez"),
    ] {
        let alias = scratch.name("jobs");
        let failed = sink(scratch.url(), &alias, mapping).prepare().await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Configuration);
        let words = failed.to_string();
        assert!(words.contains(told) && words.contains(&format!("indexes.{alias}.mapping")), "{words}");
        assert_eq!(scratch.indexes(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_made_by_hand_is_taken_over_and_protected() {
    let scratch = ElasticsearchScratch::new();
    let (alias, by_hand) = (scratch.name("jobs"), scratch.name("by-hand"));
    let body = json!({ "aliases": { &alias: {} }, "mappings": { "properties": { "n": { "type": "integer" } } } });
    assert_eq!(scratch.request("PUT", &format!("/{by_hand}"), &body.to_string()).0, 200);
    let sink = sink(scratch.url(), &alias, STRICT);
    assert_eq!(said(&sink.apply(&[put("job-1", 1, r#"{"n":1}"#)]).await.unwrap()), ["applied"]);
    assert_eq!(scratch.indexes(), std::slice::from_ref(&by_hand));
    let (_, found) = scratch.request("GET", &format!("/{by_hand}/_settings?flat_settings=true"), "");
    assert_eq!(found[&by_hand]["settings"]["index.gc_deletes"], "1h");

    assert_eq!(scratch.request("DELETE", &format!("/{by_hand}"), "").0, 200);
    assert_eq!(said(&sink.apply(&[put("job-1", 1, r#"{"n":1}"#)]).await.unwrap()), ["applied"]);
    assert_eq!(scratch.indexes(), [format!("{alias}-000001")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_mean_something_else_are_a_configuration_error() {
    let scratch = ElasticsearchScratch::new();
    let failed = async |alias: &str, told: &str| {
        let failed = sink(scratch.url(), alias, STRICT).prepare().await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Configuration);
        let words = failed.to_string();
        assert!(words.contains(&format!("indexes.{alias}")) && words.contains(told), "{words}");
    };
    let create = |name: &str, body: &str| assert_eq!(scratch.request("PUT", &format!("/{name}"), body).0, 200);

    let real = scratch.name("real");
    create(&real, "");
    failed(&real, "there is an index of that name").await;

    let several = scratch.name("several");
    for number in [1, 2] {
        create(&format!("{several}-00000{number}"), &json!({ "aliases": { &several: {} } }).to_string());
    }
    failed(&several, &format!("{several}-000001, {several}-000002")).await;

    let bare = scratch.name("bare");
    create(&format!("{bare}-000001"), "");
    failed(&bare, "no alias").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_takes_over_for_one_that_is_dead() {
    let scratch = ElasticsearchScratch::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let index = |name: &str| IndexConfig::new("jobs", STRICT).alias(scratch.name(name));
    let sink = ElasticsearchSink::new(&config(&[format!("http://{dead}"), scratch.url()]), index("jobs")).unwrap();
    sink.prepare().await.unwrap();
    for version in 1..=5 {
        let outcomes = sink.apply(&[put("job-1", version, r#"{"n":1}"#)]).await.unwrap();
        assert_eq!(said(&outcomes), ["applied"]);
    }
    assert_eq!(sink.count().await.unwrap(), 1);

    let sink = ElasticsearchSink::new(&config(&[format!("http://{dead}")]), index("never")).unwrap();
    let failed = sink.prepare().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    let words = failed.to_string();
    assert!(words.starts_with("elasticsearch.url: cannot reach http://127.0.0.1:"), "{words}");
    assert!(words.to_lowercase().contains("connection refused"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_how_the_cluster_is() {
    let scratch = ElasticsearchScratch::new();
    let report = check(&config(&[scratch.url()])).await.unwrap();
    assert!(report.nodes >= 1 && report.data_nodes >= 1, "{report:?}");
    assert!(report.version.as_deref().is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())));
    assert!(!report.name.is_empty());
    let is_opensearch = scratch.request("GET", "/", "").1["version"]["distribution"] == "opensearch";
    assert_eq!(report.product, if is_opensearch { Product::OpenSearch } else { Product::Elasticsearch });

    let nowhere = ElasticsearchConfig::new(["http://127.0.0.1:1"]);
    assert_eq!(check(&nowhere).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
