//! What every [`Searcher`] promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod pages;

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value as Json, json};

use self::pages::{
    extreme_values_are_told_from_none_and_no_digit_is_lost, orders_are_kept_and_pages_join,
    pages_go_on_where_another_searcher_stopped, pages_stand_still_while_others_are_written,
};
use crate::error::ErrorKind;
use crate::port::{AwaitedWrite, Searcher};
use crate::query::{Cursor, Fields, Order, Place, Query, Text, Value, Words, Wrote};
use crate::testkit::searching::{searched_documents, searched_fields};
use crate::version::Version;

/// A searcher of the documents of the testkit, and their source.
#[async_trait]
pub trait SearcherHarness: Sync {
    /// What searches them.
    fn searcher(&self) -> &dyn Searcher;

    /// Writes documents, each under its `id`, and has them be found from now on.
    async fn put(&self, documents: &[Json]);

    /// Deletes one, and has it be found no more.
    async fn delete(&self, key: &str);

    /// Writes one that searches do not find before the next one is written. Where all are found at once, does nothing and
    /// says so by `false`.
    async fn put_unseen(&self, document: &Json) -> bool;

    /// The version of the last write of this key, a deletion included.
    async fn version(&self, key: &str) -> Version;
}

/// Checks every promise of [`Searcher`]. `make` gives one that finds nothing yet.
///
/// # Panics
/// When a promise is broken.
pub async fn searcher<S: SearcherHarness>(make: impl AsyncFn() -> S) {
    let searched = make().await;
    words_are_found_in_every_text_field(&searched).await;
    let searched = make().await;
    a_document_is_found_by_its_own_text_whatever_signs_are_in_it(&searched).await;
    let searched = make().await;
    conditions_hold_of_what_is_found(&searched).await;
    let searched = make().await;
    what_fits_worst_comes_last_and_its_pages_join(&searched).await;
    let searched = make().await;
    orders_are_kept_and_pages_join(&searched).await;
    values_are_counted(&searched).await;
    what_cannot_be_asked_is_refused(&searched).await;
    pages_go_on_where_another_searcher_stopped(&searched).await;
    pages_stand_still_while_others_are_written(&searched).await;
    let searched = make().await;
    extreme_values_are_told_from_none_and_no_digit_is_lost(&searched).await;
    let searched = make().await;
    a_write_is_seen_or_not(&searched).await;
}

fn note(key: &str, changes: Json) -> Json {
    let mut note = json!({
        "id": key, "title": "", "description": null, "status": "OPEN", "tags": [], "priority": null, "score": null,
        "active": null, "created_at": null, "workspace": { "name": null },
    });
    if let (Some(note), Json::Object(changes)) = (note.as_object_mut(), changes) {
        note.extend(changes);
    }
    note
}

fn read(text: &str, fields: &Fields) -> Query {
    Query { limit: 100, ..Query::parse(text, fields).unwrap() }
}

async fn keys(searched: &impl SearcherHarness, query: &Query) -> Vec<String> {
    let found = searched.searcher().search(query).await.unwrap();
    found.hits.into_iter().map(|hit| hit.key).collect()
}

#[track_caller]
fn same<'a>(found: Vec<String>, expected: impl IntoIterator<Item = &'a str>, text: &str) {
    let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
    assert_eq!(found, expected.into_iter().collect(), "{text}");
}

async fn a_document_is_found_by_its_own_text_whatever_signs_are_in_it(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    let texts = [
        "AC/DC",
        "24/7",
        "and/or",
        "client/server",
        "/usr/bin/env",
        "a.b@example.de",
        "https://example.org/a?b=c#d",
        "日本語",
        "カタカナ",
        "สวัสดี",
        "<b>bold</b>",
        "don't",
        "3.14",
        "-5",
        "x_y",
        "C++",
        "#7",
        "'",
        "ünü/größe",
        "a\\b",
    ];
    let title = |(place, text): (usize, &&str)| note(&format!("k{place}"), json!({ "title": text }));
    searched.put(&texts.iter().enumerate().map(title).collect::<Vec<_>>()).await;
    for (place, text) in texts.iter().enumerate().filter(|(_, text)| text.chars().any(char::is_alphanumeric)) {
        let key = format!("k{place}");
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\"));
        let found = keys(searched, &read(&quoted, &fields)).await;
        assert!(found.contains(&key), "{quoted}: {found:?}");
        let word = Words { is_excluded: false, what: Text::Word((*text).to_owned()) };
        let found = keys(searched, &Query { text: vec![word], limit: 100, ..Query::default() }).await;
        assert!(found.contains(&key), "{text}: {found:?}");
        let start: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
        if !start.is_empty() {
            let word = Words { is_excluded: false, what: Text::Prefix(start.clone()) };
            let found = keys(searched, &Query { text: vec![word], limit: 100, ..Query::default() }).await;
            assert!(found.contains(&key), "{start}*: {found:?}");
        }
    }
}

async fn words_are_found_in_every_text_field(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    assert_eq!(keys(searched, &read("", &fields)).await, [""; 0]);
    searched
        .put(&[
            note("a", json!({ "title": "Annual Report", "description": "of the migration" })),
            note("b", json!({ "title": "Report", "description": "annual, and quick" })),
            note("c", json!({ "title": "Größe", "description": "reporting in-place" })),
            note("d", json!({ "title": "the annual", "description": "report" })),
        ])
        .await;
    for (text, expected) in [
        ("report", "abd"),
        ("REPORT annual", "abd"),
        ("report quick", "b"),
        ("report -quick", "ad"),
        ("repo*", "abcd"),
        ("repo* -report", "c"),
        ("\"annual report\"", "a"),
        ("-\"annual report\" annual", "bd"),
        ("grö*", "c"),
        ("größe", "c"),
        ("in-place", "c"),
        ("place", "c"),
        ("nowhere", ""),
        ("", "abcd"),
        ("-nowhere", "abcd"),
    ] {
        let expected: Vec<_> = expected.split("").filter(|key| !key.is_empty()).collect();
        same(keys(searched, &read(text, &fields)).await, expected, text);
    }
    let found = searched.searcher().search(&read("quick", &fields)).await.unwrap();
    let document: Json = serde_json::from_str(&found.hits[0].document).unwrap();
    assert_eq!(document["description"], "annual, and quick");
    assert_eq!(found.hits[0].version, searched.version("b").await);
}

async fn conditions_hold_of_what_is_found(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    searched
        .put(&[
            note("a", json!({ "status": "PAID", "tags": ["x", "y"], "priority": 1, "score": 0.1, "active": true })),
            note("b", json!({ "status": "PA%D", "tags": ["y"], "priority": 2, "score": 0.3, "active": false })),
            note("c", json!({ "status": "paid", "priority": -3, "created_at": "2026-02-01T00:00:00.000999+00:00" })),
            note("d", json!({ "status": "", "created_at": "2026-01-31T23:59:59.999999+00:00", "workspace": { "name": "w*b" } })),
        ])
        .await;
    for (text, expected) in [
        ("status:PAID", "a"),
        ("status:PAID,paid", "ac"),
        ("-status:PAID", "bcd"),
        ("status:\"\"", "d"),
        ("status:PA*D", "ab"),
        ("status:*%*", "b"),
        ("status:*A*", "ab"),
        ("tags:y", "ab"),
        ("tags:x,z", "a"),
        ("-tags:x", "bcd"),
        ("tags:*", "ab"),
        ("priority:>=1", "ab"),
        ("priority:<2", "ac"),
        ("priority:-3..1", "ac"),
        ("priority:2,-3", "bc"),
        ("-priority:>=1", "cd"),
        ("score:0.1", "a"),
        ("score:>0.1", "b"),
        ("active:true", "a"),
        ("active:true,false", "ab"),
        ("-active:true", "bcd"),
        ("-active:*", "cd"),
        ("created_at:2026-02-01", "c"),
        ("created_at:2026-01-31", "d"),
        ("created_at:<=2026-02-01T00:00:00Z", "cd"),
        ("created_at:>2026-02-01T00:00:00Z", ""),
        ("created_at:>2026-01-31T23:59:59.998Z", "cd"),
        ("workspace.name:\"w*b\"", "d"),
        ("workspace.name:*", "d"),
        ("id:a,d,nobody", "ad"),
        ("id:*", "abcd"),
        ("status:PAID tags:x priority:1", "a"),
        ("status:PAID tags:z", ""),
    ] {
        let expected: Vec<_> = expected.split("").filter(|key| !key.is_empty()).collect();
        same(keys(searched, &read(text, &fields)).await, expected, text);
    }
}

async fn what_fits_worst_comes_last_and_its_pages_join(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    searched
        .put(&[
            note(
                "a",
                json!({ "title": "other things", "description": "a late server, and much besides that one reads" }),
            ),
            note("b", json!({ "title": "server", "description": "late" })),
            note("c", json!({ "title": "late", "description": "a server, and much besides that one reads" })),
        ])
        .await;
    let query = read("late server", &fields);
    assert_eq!(keys(searched, &query).await.last().map(String::as_str), Some("a"));
    let mut walked = walk(searched, &Query { limit: 1, ..query.clone() }).await;
    assert_eq!(walked, keys(searched, &query).await, "page by page as at once");
    walked.dedup();
    assert_eq!(walked.len(), 3);
    // By relevance nobody goes on with what another has ranked: it begins anew.
    let foreign = Cursor { by: "another".into(), order: Order::Relevance, depth: 1, place: Place::Depth };
    let again = Query { after: Some(foreign), ..query.clone() };
    assert_eq!(keys(searched, &again).await, keys(searched, &query).await);
    // But where another could not rank and went by a field, that order is gone on with.
    let place = Place::After { value: None, key: "b".into() };
    let unranked = Cursor { by: "another".into(), order: searched_fields().order().clone(), depth: 1, place };
    assert_eq!(keys(searched, &Query { after: Some(unranked), ..query.clone() }).await, ["a"]);
    // Without anything to rank by, it is the order there is otherwise.
    let ranked = Query { order: Some(Order::Relevance), ..read("status:OPEN", &fields) };
    assert_eq!(keys(searched, &ranked).await, ["c", "b", "a"]);
}

async fn walk(searched: &impl SearcherHarness, query: &Query) -> Vec<String> {
    let (mut all, mut query) = (Vec::new(), query.clone());
    loop {
        let found = searched.searcher().search(&query).await.unwrap();
        assert!(found.hits.len() <= query.limit);
        all.extend(found.hits.into_iter().map(|hit| hit.key));
        let Some(next) = found.next else { return all };
        assert_eq!(next.depth, all.len());
        query.after = Some(Cursor::parse(&next.to_string()).unwrap());
    }
}

async fn values_are_counted(searched: &impl SearcherHarness) {
    let query =
        Query { facets: vec!["tags".into(), "status".into()], limit: 1, ..read("-priority:0", &searched_fields()) };
    let found = searched.searcher().search(&query).await.unwrap();
    let documents = searched_documents(7, 60);
    let fitting: Vec<_> = documents.iter().filter(|document| document["priority"] != 0).collect();
    assert_eq!((found.total.value, found.total.is_exact), (fitting.len() as u64, true));
    assert_eq!(found.facets.iter().map(|facet| facet.field.as_str()).collect::<Vec<_>>(), ["tags", "status"]);
    for facet in &found.facets {
        assert!(facet.is_exact && facet.values.len() > 3, "{facet:?}");
        let in_order = |pair: &[crate::port::Counted]| {
            pair[0].count > pair[1].count || (pair[0].count == pair[1].count && pair[0].value < pair[1].value)
        };
        assert!(facet.values.windows(2).all(in_order), "{facet:?}");
        for counted in &facet.values {
            let has = |document: &&&Json| {
                let held = &document[&facet.field];
                let values = held.as_array().map_or(std::slice::from_ref(held), Vec::as_slice);
                values.iter().any(|value| *value == counted.value.as_str())
            };
            assert_eq!(counted.count, fitting.iter().filter(has).count() as u64, "{counted:?}");
        }
    }
}

async fn what_cannot_be_asked_is_refused(searched: &impl SearcherHarness) {
    let fields = searched_fields();
    let whole = read("", &fields);
    let cursor =
        |order: &str, depth, place| Some(Cursor { by: "another".into(), order: Order::parse(order), depth, place });
    let last = Place::After { value: Some(Value::Integer(1)), key: "k".into() };
    for query in [
        Query { limit: 0, ..whole.clone() },
        Query { limit: 101, ..whole.clone() },
        Query { order: Some(Order::parse("title")), ..whole.clone() },
        Query { order: Some(Order::parse("tags")), ..whole.clone() },
        Query { facets: vec!["priority".into()], ..whole.clone() },
        Query { order: Some(Order::parse("status")), after: cursor("priority", 1, last.clone()), ..whole.clone() },
        Query { after: cursor("-created_at", 10_000, Place::Depth), ..whole.clone() },
        Query { after: cursor("-created_at", 1, last.clone()), ..whole.clone() },
        Query { facets: vec!["status".into(), "status".into()], ..whole.clone() },
        Query { wrote: vec![Wrote { key: "a\0".into(), version: None }], ..whole.clone() },
    ] {
        let error = searched.searcher().search(&query).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}

async fn a_write_is_seen_or_not(searched: &impl SearcherHarness) {
    let shows = async |key: &str, version, is_deletion| {
        searched.searcher().shows(&[AwaitedWrite { key: key.to_owned(), version, is_deletion }]).await.unwrap()
    };
    let later = |version: Version| Version::from_external(version.external() + 1_000_000);
    assert!(!shows("a", Version::default(), false).await, "there is none");
    searched.put(&[note("a", json!({})), note("b", json!({}))]).await;
    let [first, other] = [searched.version("a").await, searched.version("b").await];
    assert!(shows("a", first, false).await && !shows("a", later(first), false).await);
    assert!(!shows("a", later(first), true).await, "it is still there");
    searched.put(&[note("a", json!({ "title": "again" }))]).await;
    let second = searched.version("a").await;
    assert!(second > first && shows("a", first, false).await && shows("a", second, false).await);
    searched.delete("a").await;
    let deleted = searched.version("a").await;
    assert!(deleted > second && shows("a", deleted, true).await);
    let both = [("a", deleted, true), ("b", other, false)].map(|(key, version, is_deletion)| AwaitedWrite {
        key: key.to_owned(),
        version,
        is_deletion,
    });
    assert!(searched.searcher().shows(&both).await.unwrap() && searched.searcher().shows(&[]).await.unwrap());
    if searched.put_unseen(&note("c", json!({}))).await {
        let unseen = searched.version("c").await;
        assert!(!shows("c", unseen, false).await, "it is stored, and no search finds it");
        searched.put(&[note("d", json!({}))]).await;
        assert!(shows("c", unseen, false).await);
    }
}
