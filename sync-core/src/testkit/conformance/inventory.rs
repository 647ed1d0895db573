//! What every [`Inventory`] promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::port::{Inventoried, Inventory, Write};
use crate::version::Version;

/// Checks every promise of [`Inventory`]. `make` gives an index that does not exist yet, as for the suite of
/// [`Sink`](crate::port::Sink).
///
/// # Panics
/// When a promise is broken.
pub async fn inventory(make: impl AsyncFn(&str) -> Arc<dyn Inventory>) {
    let index = make("versions").await;
    index.prepare().await.unwrap();
    versions_are_those_of_the_last_write(&*index).await;
    let index = make("listed").await;
    index.prepare().await.unwrap();
    every_document_is_listed_once_with_its_version(&*index).await;
    let index = make("changing").await;
    index.prepare().await.unwrap();
    what_stays_is_listed_once_whatever_changes_meanwhile(&*index).await;
}

async fn put(index: &dyn Inventory, documents: &[(String, i64)]) {
    let write = |(key, local): &(String, i64)| {
        let version = Version::new(1, *local).unwrap();
        Write { key: key.clone(), version, document: Some("{\"n\":1}".to_owned()) }
    };
    let writes: Vec<_> = documents.iter().map(write).collect();
    index.apply(&writes).await.unwrap();
}

async fn delete(index: &dyn Inventory, key: &str, local: i64) {
    let version = Version::new(1, local).unwrap();
    index.apply(&[Write { key: key.to_owned(), version, document: None }]).await.unwrap();
}

async fn versions_are_those_of_the_last_write(index: &dyn Inventory) {
    put(index, &[("a".to_owned(), 1), ("größe \"1\"".to_owned(), 5), ("gone".to_owned(), 1)]).await;
    put(index, &[("a".to_owned(), 3)]).await;
    delete(index, "gone", 2).await;
    let keys = ["never", "größe \"1\"", "", "gone", "a"].map(str::to_owned);
    let expected = [None, Some(5), None, None, Some(3)].map(|local| local.map(|local| Version::new(1, local).unwrap()));
    assert_eq!(index.versions(&keys).await.unwrap(), expected);
    assert_eq!(index.versions(&[]).await.unwrap(), []);
}

async fn every_document_is_listed_once_with_its_version(index: &dyn Inventory) {
    assert_eq!(index.inventory(None, 3).await.unwrap(), Inventoried::default());
    let all: BTreeMap<String, i64> = (1..=10).map(|number| (format!("k{number}"), number)).collect();
    put(index, &all.clone().into_iter().collect::<Vec<_>>()).await;
    delete(index, "k7", 20).await;
    // One size that leaves a rest, and one that does not.
    for limit in [4, 3] {
        let (mut listed, mut from) = (BTreeMap::new(), None);
        loop {
            let part = index.inventory(from.as_ref(), limit).await.unwrap();
            let again = index.inventory(from.as_ref(), limit).await;
            // Asked for again, a part is the same; only after the last one everything may be forgotten.
            if part.next.is_some() && from.is_some() {
                assert_eq!(again.unwrap().documents, part.documents);
            }
            for (key, version) in part.documents {
                let twice = listed.insert(key, i64::try_from(version.local()).unwrap());
                assert_eq!((twice, version.epoch()), (None, 1));
            }
            let Some(next) = part.next else { break };
            from = Some(next);
        }
        let expected: BTreeMap<_, _> = all.clone().into_iter().filter(|(key, _)| key != "k7").collect();
        assert_eq!(listed, expected);
    }
}

async fn what_stays_is_listed_once_whatever_changes_meanwhile(index: &dyn Inventory) {
    let all: Vec<_> = (0..20).map(|number| (format!("k{number:02}"), 1)).collect();
    put(index, &all).await;
    let (mut listed, mut from, mut local) = (Vec::new(), None, 1);
    loop {
        let part = index.inventory(from.as_ref(), 5).await.unwrap();
        listed.extend(part.documents.into_iter().map(|(key, _)| key));
        local += 1;
        put(index, &[("k00".to_owned(), local), ("k19".to_owned(), local), (format!("new{local}"), 1)]).await;
        let Some(next) = part.next else { break };
        from = Some(next);
    }
    listed.retain(|key| key.starts_with('k'));
    listed.sort();
    assert_eq!(listed, all.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
}
