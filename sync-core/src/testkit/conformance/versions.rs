//! What every [`Versions`] promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::time::Duration;

use jiff::Timestamp;

use super::projection::Rows;
use crate::error::ErrorKind;
use crate::port::{Changed, KeyState, Versions};
use crate::version::Version;

/// Checks every promise of [`Versions`].
///
/// # Panics
/// When a promise is broken.
pub async fn versions(fresh: impl AsyncFn() -> Box<dyn Rows>) {
    states_are_those_of_the_documents_and_say_how_old_they_are(&*fresh().await).await;
    a_scan_of_states_meets_what_a_scan_of_documents_meets(&*fresh().await).await;
    what_changed_since_is_listed_deleted_keys_too(&*fresh().await).await;
    a_raised_version_is_above_what_it_was_told_and_below_what_is_written_later(&*fresh().await).await;
    a_version_of_a_later_epoch_is_outdone_by_another_epoch(&*fresh().await).await;
    a_version_nothing_should_outdo_is_refused(&*fresh().await).await;
}

fn keys(of: &[&str]) -> Vec<String> {
    of.iter().map(|&key| key.to_owned()).collect()
}

async fn state(versions: &dyn Versions, key: &str) -> KeyState {
    versions.states(&keys(&[key])).await.unwrap().remove(0)
}

async fn states_are_those_of_the_documents_and_say_how_old_they_are(rows: &dyn Rows) {
    assert!(rows.projection().states(&[]).await.unwrap().is_empty());
    rows.put("b", "x").await;
    rows.put("gone", "x").await;
    rows.delete("gone").await;
    let asked = keys(&["gone", "never", "b"]);
    let states = rows.projection().states(&asked).await.unwrap();
    let documents = rows.projection().load(&asked).await.unwrap();
    for (state, current) in states.iter().zip(&documents) {
        let same = (&current.key, current.version, current.document.is_some());
        assert_eq!((&state.key, state.version, state.has_document), same);
    }
    let ages: Vec<_> = states.iter().map(|state| state.age).collect();
    let is_recent = |age: Option<Duration>| age.is_some_and(|age| age < Duration::from_secs(60));
    assert!(is_recent(ages[0]) && ages[1].is_none() && is_recent(ages[2]), "{ages:?}");
}

async fn a_scan_of_states_meets_what_a_scan_of_documents_meets(rows: &dyn Rows) {
    for number in 0..9 {
        rows.put(&format!("k{number}"), "there").await;
    }
    rows.delete("k4").await;
    let (mut met, mut after) = (Vec::new(), None);
    loop {
        let page = rows.projection().scan_states(after.as_deref(), 3).await.unwrap();
        let is_last = page.len() < 3;
        after = page.last().map(|state| state.key.clone());
        met.extend(page);
        if is_last {
            break;
        }
    }
    let documents = rows.projection().scan(None, 100).await.unwrap();
    assert_eq!(met.len(), documents.len());
    for (state, current) in met.iter().zip(&documents) {
        assert_eq!((&state.key, state.version, state.has_document), (&current.key, current.version, true));
    }
}

async fn what_changed_since_is_listed_deleted_keys_too(rows: &dyn Rows) {
    for key in ["a", "b", "c"] {
        rows.put(key, "x").await;
    }
    rows.delete("b").await;
    let changed = async |since, limit| {
        let (mut met, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let Changed { keys, next } = rows.projection().changed(since, after.as_deref(), limit).await.unwrap();
            assert!(keys.len() <= limit);
            met.extend(keys);
            let Some(next) = next else { return met };
            after = Some(next);
        }
    };
    let before = Timestamp::now() - Duration::from_secs(600);
    for limit in [1, 2, 3, 10] {
        assert_eq!(changed(before, limit).await, ["a", "b", "c"]);
    }
    assert_eq!(changed(Timestamp::now() + Duration::from_secs(600), 1).await, [""; 0]);
}

async fn a_raised_version_is_above_what_it_was_told_and_below_what_is_written_later(rows: &dyn Rows) {
    let versions = rows.projection();
    rows.put("a", "x").await;
    // Near, nearly as many as may be drawn, and far away.
    for more in [1, 100_000, 1_000_000_000_000] {
        let epoch = versions.agree(None).await.unwrap().epoch;
        let local = i64::try_from(state(versions, "a").await.version.local()).unwrap() + more;
        let above = Version::new(epoch, local).unwrap();
        versions.raise(&keys(&["a", "unknown"]), above).await.unwrap();
        // Another epoch may have begun for it.
        versions.agree(None).await.unwrap();
        let raised = [state(versions, "a").await.version, state(versions, "unknown").await.version];
        assert!(raised.iter().all(|raised| *raised > above), "{raised:?} above {above}");
        rows.put("a", &more.to_string()).await;
        assert!(state(versions, "a").await.version > raised[0]);
        versions.raise(&keys(&["a"]), Version::default()).await.unwrap();
        assert!(state(versions, "a").await.version > raised[0], "raising never lowers");
    }
    let document = versions.load(&keys(&["a", "unknown"])).await.unwrap();
    assert!(document[0].document.is_some() && document[1].document.is_none());
}

async fn a_version_of_a_later_epoch_is_outdone_by_another_epoch(rows: &dyn Rows) {
    let versions = rows.projection();
    let before = versions.agree(None).await.unwrap();
    rows.put("a", "x").await;
    let above = Version::new(before.epoch + 7, 5).unwrap();
    versions.raise(&keys(&["a"]), above).await.unwrap();
    let refused = versions.states(&keys(&["a"])).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    let after = versions.agree(Some(&before)).await.unwrap();
    assert!(after.epoch > before.epoch + 7, "{after:?}");
    assert!(state(versions, "a").await.version > above);
}

async fn a_version_nothing_should_outdo_is_refused(rows: &dyn Rows) {
    let versions = rows.projection();
    versions.agree(None).await.unwrap();
    rows.put("a", "x").await;
    let before = state(versions, "a").await.version;
    let highest = Version::new(Version::MAX_EPOCH, Version::MAX_LOCAL).unwrap();
    let refused = versions.raise(&keys(&["a"]), highest).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Contract, "{refused}");
    assert_eq!(state(versions, "a").await.version, before);
}
