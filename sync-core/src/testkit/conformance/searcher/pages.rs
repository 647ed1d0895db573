//! Orders and pages.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{SearcherHarness, keys, note, read, walk};
use crate::query::{Cursor, Order, Place, Query, Value};
use crate::testkit::searching::{searched_documents, searched_fields};

pub(super) async fn orders_are_kept_and_pages_join(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    let documents = searched_documents(7, 60);
    searched.put(&documents).await;
    for order in [
        "id",
        "-id",
        "priority",
        "-priority",
        "score",
        "-score",
        "status",
        "-status",
        "created_at",
        "-created_at",
        "active",
        "-active",
        "-workspace.name",
    ] {
        let (name, descending) = order.strip_prefix('-').map_or((order, false), |name| (name, true));
        let mut expected: Vec<_> = documents.iter().collect();
        let pointer = format!("/{}", name.replace('.', "/"));
        let value = |document: &Json| document.pointer(&pointer).filter(|value| !value.is_null()).map(sortable);
        expected.sort_by(|a, b| {
            let by_value = match (value(a), value(b)) {
                (Some(a), Some(b)) => {
                    if descending {
                        b.cmp(&a)
                    } else {
                        a.cmp(&b)
                    }
                }
                (a, b) => b.is_some().cmp(&a.is_some()),
            };
            let by_key = a["id"].as_str().cmp(&b["id"].as_str());
            by_value.then(if descending { by_key.reverse() } else { by_key })
        });
        let expected: Vec<_> = expected.iter().map(|document| document["id"].as_str().unwrap()).collect();
        let mut query = Query { order: Some(Order::parse(order)), ..read("", &fields) };
        assert_eq!(keys(searched, &query).await, expected, "{order}");
        query.limit = 7;
        assert_eq!(walk(searched, &query).await, expected, "{order}, by sevens");
        query.limit = 60;
        let whole = searched.searcher().search(&query).await.unwrap();
        assert_eq!((whole.next, whole.total.value, whole.total.is_exact), (None, 60, true));
    }
}

/// Compared as text, numbers come in their order.
fn sortable(value: &Json) -> String {
    match value.as_f64() {
        Some(number) => format!("{:010.3}", number + 1_000.0),
        None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

pub(super) async fn extreme_values_are_told_from_none_and_no_digit_is_lost(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    let notes: Vec<_> = (0..12)
        .map(|number| {
            let extreme = [Json::Null, i32::MAX.into(), i32::MIN.into()][number % 3].clone();
            // Neither is a double exactly, and a day that has no end in every calendar.
            let score = [0.1 + 0.2, 1.0 / 3.0, 5e-324, 1.797_693_134_862_315_7e308][number % 4];
            let created_at = ["9999-12-31T00:00:00+00:00", "0001-01-01T00:00:00+00:00"][number % 2];
            note(&format!("k{number:02}"), json!({ "priority": extreme, "score": score, "created_at": created_at }))
        })
        .collect();
    searched.put(&notes).await;
    for order in ["priority", "-priority", "score", "-score", "created_at", "-created_at"] {
        let query = Query { order: Some(Order::parse(order)), ..read("", &fields) };
        let whole = keys(searched, &query).await;
        let distinct: BTreeSet<_> = whole.iter().collect();
        assert_eq!((whole.len(), distinct.len()), (12, 12), "{order}");
        assert_eq!(walk(searched, &Query { limit: 1, ..query }).await, whole, "{order}, one by one");
        if order.ends_with("priority") {
            assert!(
                ["k00", "k03", "k06", "k09"].iter().all(|key| whole[8..].contains(&(*key).to_owned())),
                "{whole:?}"
            );
        }
    }
    for (text, count) in [("created_at:>=9999-01-01", 6), ("created_at:9999-12-31", 6), ("created_at:<0002-01-01", 6)] {
        assert_eq!(keys(searched, &read(text, &fields)).await.len(), count, "{text}");
    }
    let found = searched.searcher().search(&read("id:k00", &fields)).await.unwrap();
    let document: Json = serde_json::from_str(&found.hits[0].document).unwrap();
    assert_eq!(document["score"], json!(0.1 + 0.2));
}

pub(super) async fn pages_go_on_where_another_searcher_stopped(searched: &impl SearcherHarness) {
    let whole = Query { order: Some(Order::parse("-created_at")), ..read("", &searched_fields()) };
    let found = searched.searcher().search(&whole).await.unwrap().hits;
    let keys: Vec<_> = found.iter().map(|hit| hit.key.clone()).collect();
    let after = |depth: usize, place| {
        let after = Some(Cursor { by: "another".into(), order: Order::parse("-created_at"), depth, place });
        Query { after, limit: 100, ..whole.clone() }
    };
    for depth in [1, 10, keys.len() - 1] {
        let document: Json = serde_json::from_str(&found[depth - 1].document).unwrap();
        let micros = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let value = document["created_at"].as_str().map(|time| Value::Date(micros(time)));
        let rest = self::keys(searched, &after(depth, Place::After { value, key: keys[depth - 1].clone() })).await;
        // Nothing is passed over. What has the very same time may be repeated.
        assert!(rest.ends_with(&keys[depth..]) && rest.len() < keys.len() - depth + 20, "{depth}: {rest:?}");
        assert_eq!(self::keys(searched, &after(depth, Place::Depth)).await, keys[depth..], "{depth}");
    }
}

pub(super) async fn pages_stand_still_while_others_are_written(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    let all: BTreeSet<String> =
        searched_documents(7, 60).iter().map(|note| note["id"].as_str().unwrap().to_owned()).collect();
    let mut query = Query { limit: 9, order: Some(Order::parse("-priority")), ..read("", &fields) };
    let (mut walked, mut round) = (Vec::new(), 0);
    loop {
        let found = searched.searcher().search(&query).await.unwrap();
        walked.extend(found.hits.into_iter().map(|hit| hit.key));
        round += 1;
        let first = note(&format!("first{round}"), json!({ "priority": 99 }));
        searched
            .put(&[first, note(&format!("z-last{round}"), json!({})), note("other", json!({ "priority": 2 }))])
            .await;
        searched.delete("other").await;
        let Some(next) = found.next else { break };
        query.after = Some(next);
    }
    walked.retain(|key| key.starts_with('k'));
    let distinct: BTreeSet<_> = walked.iter().cloned().collect();
    assert_eq!((distinct, walked.len()), (all, 60));
}
