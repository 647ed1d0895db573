//! What every [`Projection`](crate::port::Projection) promises.
#![allow(clippy::expect_used, reason = "a suite fails by panicking")]

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::ErrorKind;
use crate::port::{Current, History, Versions};

/// An empty database to check a projection on. Documents are `{"title": …}`.
#[async_trait]
pub trait Rows: Debug + Send + Sync {
    /// The projection.
    fn projection(&self) -> &dyn Versions;

    /// Inserts or updates a row in a transaction of its own.
    async fn put(&self, key: &str, title: &str);

    /// Deletes a row in a transaction of its own.
    async fn delete(&self, key: &str);

    /// Locks a row until [`release`](Self::release), as a transaction that is open does.
    async fn hold(&self, key: &str);

    /// Ends a [`hold`](Self::hold).
    async fn release(&self);

    /// Begins another history, as the promotion of a standby does.
    async fn promote(&self);
}

/// Checks everything a projection promises.
///
/// # Panics
/// When a promise is broken, saying which.
pub async fn projection(fresh: impl AsyncFn() -> Box<dyn Rows>) {
    there_is_one_answer_a_key_in_the_order_asked(&*fresh().await).await;
    a_version_grows_with_every_change_and_a_delete_has_one_too(&*fresh().await).await;
    a_scan_meets_every_document_once(&*fresh().await).await;
    keys_are_scanned_without_documents_and_counted_roughly(&*fresh().await).await;
    marking_changes_no_version(&*fresh().await).await;
    marking_waits_for_no_row_and_says_which_it_left_out(&*fresh().await).await;
    rows_are_of_the_history_that_was_agreed_upon(&*fresh().await).await;
    another_history_of_the_same_number_begins_the_next(&*fresh().await).await;
}

async fn load(rows: &dyn Rows, keys: &[&str]) -> Vec<Current> {
    let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
    rows.projection().load(&keys).await.expect("the database is up")
}

fn title(current: &Current) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(current.document.as_ref()?).expect("a document is JSON");
    Some(document["title"].as_str().expect("a document has a title").to_owned())
}

async fn there_is_one_answer_a_key_in_the_order_asked(rows: &dyn Rows) {
    assert!(load(rows, &[]).await.is_empty());
    rows.put("b", "second").await;
    rows.put("a", "first\nwith a line break and \"quotes\"").await;
    let current = load(rows, &["missing", "b", "a"]).await;
    let keys: Vec<_> = current.iter().map(|current| current.key.as_str()).collect();
    assert_eq!(keys, ["missing", "b", "a"]);
    let titles: Vec<_> = current.iter().map(title).collect();
    let expected = [None, Some("second"), Some("first\nwith a line break and \"quotes\"")];
    assert_eq!(titles, expected.map(|title| title.map(str::to_owned)));
    for document in current.iter().filter_map(|current| current.document.as_ref()) {
        assert!(!document.contains('\n'), "a document is on one line: {document}");
    }
}

async fn keys_are_scanned_without_documents_and_counted_roughly(rows: &dyn Rows) {
    for key in ["c", "a", "b"] {
        rows.put(key, "x").await;
    }
    let keys = async |after, limit| rows.projection().keys(after, limit).await.expect("the database is up");
    let all = keys(None, 10).await;
    let scanned = rows.projection().scan(None, 10).await.expect("the database is up");
    assert_eq!(all, scanned.into_iter().map(|current| current.key).collect::<Vec<_>>());
    assert_eq!(keys(None, 2).await, all[..2]);
    assert_eq!(keys(Some(&all[1]), 10).await, all[2..]);
    rows.projection().estimate().await.expect("the database is up");
    assert_eq!(rows.projection().count().await.expect("the database is up"), all.len() as u64);
}

async fn a_version_grows_with_every_change_and_a_delete_has_one_too(rows: &dyn Rows) {
    let mut versions = Vec::new();
    let mut look = async || versions.push(load(rows, &["a"]).await.remove(0).version);
    rows.put("a", "one").await;
    look().await;
    rows.put("a", "two").await;
    look().await;
    rows.delete("a").await;
    look().await;
    rows.put("a", "three").await;
    look().await;
    assert!(versions.is_sorted_by(|earlier, later| earlier < later), "{versions:?}");
}

async fn a_scan_meets_every_document_once(rows: &dyn Rows) {
    for number in 0..25 {
        rows.put(&format!("k{number:02}"), "there").await;
    }
    rows.delete("k07").await;
    let mut met = Vec::new();
    let mut after = None;
    loop {
        let page = rows.projection().scan(after.as_deref(), 10).await.expect("the database is up");
        let last = page.len() < 10;
        assert!(page.iter().all(|current| current.document.is_some()));
        met.extend(page.into_iter().map(|current| current.key));
        after = met.last().cloned();
        if last {
            break;
        }
    }
    let mut expected: Vec<_> = (0..25).map(|number| format!("k{number:02}")).collect();
    expected.remove(7);
    met.sort();
    assert_eq!(met, expected);
}

async fn marking_changes_no_version(rows: &dyn Rows) {
    rows.put("a", "one").await;
    let before = load(rows, &["a"]).await;
    let projection = rows.projection();
    projection.mark_synced(&["a".to_owned(), "missing".to_owned()]).await.expect("the database is up");
    assert_eq!(load(rows, &["a"]).await, before);
}

async fn marking_waits_for_no_row_and_says_which_it_left_out(rows: &dyn Rows) {
    rows.put("a", "one").await;
    rows.put("b", "two").await;
    let keys = ["a", "b", "missing"].map(str::to_owned);
    rows.hold("b").await;
    assert_eq!(rows.projection().mark_synced(&keys).await.expect("the database is up"), ["b"]);
    rows.release().await;
    assert_eq!(rows.projection().mark_synced(&keys).await.expect("the database is up"), [""; 0]);
}

async fn rows_are_of_the_history_that_was_agreed_upon(rows: &dyn Rows) {
    let projection = rows.projection();
    rows.put("a", "one").await;
    let first = projection.agree(None).await.expect("the database is up");
    let before = load(rows, &["a"]).await;
    assert_eq!(before[0].version.epoch(), u64::try_from(first.epoch).expect("an epoch"));
    rows.promote().await;
    let keys = ["a".to_owned()];
    let refused = projection.load(&keys).await.expect_err("another history has begun").kind();
    assert_eq!(refused, ErrorKind::Fenced);
    assert_eq!(projection.scan(None, 10).await.expect_err("another history").kind(), ErrorKind::Fenced);
    let second = projection.agree(Some(&first)).await.expect("it is known");
    assert_eq!(second.epoch, first.epoch + 1);
    assert_ne!(second.token, first.token);
    let after = load(rows, &["a"]).await;
    assert!(after[0].version > before[0].version, "in a later epoch");
    assert_eq!(projection.agree(Some(&second)).await.expect("up"), second, "nothing has changed");
    assert_eq!(projection.agree(Some(&first)).await.expect("up"), second, "an earlier one is known too");
}

async fn another_history_of_the_same_number_begins_the_next(rows: &dyn Rows) {
    let projection = rows.projection();
    rows.put("a", "one").await;
    let here = projection.agree(None).await.expect("up");
    let elsewhere = |epoch| History { epoch, token: "0fb1a4a8-6a3b-4a6e-8f6c-0a6c7a1d2e3f".to_owned() };
    let later = elsewhere(here.epoch + 1);
    assert_eq!(projection.agree(Some(&later)).await.expect_err("a person decides").kind(), ErrorKind::History);
    assert_eq!(projection.agree(None).await.expect("up"), here, "nothing has changed");
    let next = projection.agree(Some(&elsewhere(here.epoch))).await.expect("up");
    assert_eq!(next.epoch, here.epoch + 1);
    assert_eq!(load(rows, &["a"]).await[0].version.epoch(), u64::try_from(next.epoch).expect("an epoch"));
    assert_eq!(projection.agree(Some(&elsewhere(here.epoch))).await.expect("up"), next, "once is enough");
}
