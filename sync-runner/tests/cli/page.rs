//! The status page in a real browser, where scripts/test has found one.

use std::process::Command;

use serde_json::{Value, json};

use crate::admin::{MAPPING, TOKEN, end, start, until_status};
use crate::http::get;
use crate::runner::closed_port;
use crate::servers::Stage;

/// Whether there is a browser.
fn has_browser() -> bool {
    ["SYNC_PAGE_BROWSER", "SYNC_PAGE_MODULES"].iter().all(|name| std::env::var_os(name).is_some())
}

/// Goes through the page as it is told.
#[track_caller]
fn go_through(mut told: Value) {
    if let Ok(shots) = std::env::var("SYNC_PAGE_SHOTS") {
        told["shots"] = json!(shots);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/page.mjs");
    let ended = Command::new("node").arg(script).arg(told.to_string()).output().unwrap();
    let [out, err] = [ended.stdout, ended.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    assert!(ended.status.success(), "{out}{err}");
}

#[tokio::test]
async fn a_dead_letter_is_replayed_by_clicks_and_leaves_the_page_which_shuts_nobody_out() {
    if !has_browser() {
        return;
    }
    let stage = Stage::migrated("kafka").await;
    stage.runner.write("jobs.json", &MAPPING.replace(r#""title":{"type":"keyword"}"#, r#""title":{"type":"integer"}"#));
    let configuration = stage.runner.read("sync.toml");
    stage.runner.write("sync.toml", &format!("{configuration}mapping = \"jobs.json\"\n"));
    let (running, port) = start(&stage, "relay,indexer,admin", &["--set", "indexer.suspicious=0"]);
    stage.sql("insert into jobs select i, i::text from generate_series(1, 50) i").await;
    // More than the page shows at first.
    stage.sql("insert into jobs select i, 'seven' from generate_series(100, 159) i").await;
    until_status(port, "sixty dead letters", |told| told["dead_letters"]["letters"] == 60);
    let letters = get(port, "/api/dead-letters?limit=200").json();
    let id_of = |key: &str| {
        let mut all = letters["letters"].as_array().unwrap().iter();
        all.find(|letter| letter["key"] == key).unwrap()["id"].clone()
    };
    // Unseen by triggers, as whoever mends a row by hand may do it.
    stage.sql("set session_replication_role = replica; update jobs set title = '7' where id = 100").await;
    let url = format!("http://127.0.0.1:{port}/");
    go_through(json!({
        "url": url, "expects": "Live", "token": TOKEN, "replay": id_of("100"), "discard": id_of("101"),
    }));
    until_status(port, "three letters less", |told| told["dead_letters"]["letters"] == 57);
    end(running);
}

#[tokio::test]
async fn the_page_of_a_pipeline_without_a_server_says_which_is_away() {
    if !has_browser() {
        return;
    }
    let stage = Stage::migrated("kafka").await;
    stage.sql("insert into jobs values (1, 'seven')").await;
    let nowhere = closed_port();
    for (setting, address) in [
        ("elasticsearch.url", format!("http://127.0.0.1:{nowhere}")),
        ("kafka.brokers", format!("127.0.0.1:{nowhere}")),
        ("postgres.url", format!("postgres://nobody@127.0.0.1:{nowhere}/nothing")),
    ] {
        let away = format!("{setting}={address}");
        let (running, port) = start(&stage, "relay,indexer,admin", &["--set", &away]);
        go_through(json!({ "url": format!("http://127.0.0.1:{port}/"), "expects": setting }));
        end(running);
    }
}
