//! What an index in a directory holds, key by key.

use async_trait::async_trait;

use super::alias::Opened;
use super::columns::{Held, Keys};
use super::sink::LocalSink;
use crate::error::Error;
use crate::port::{Inventoried, Inventory, InventoryCursor};
use crate::version::Version;

#[async_trait]
impl Inventory for LocalSink {
    async fn versions(&self, keys: &[String]) -> Result<Vec<Option<Version>>, Error> {
        let wanted = keys.to_vec();
        self.with(move |Opened { store, .. }| {
            let searcher = store.searcher()?;
            let keys = Keys::of(&searcher, &store.fields).map_err(|error| store.failed(error))?;
            let live = |held: Held| held.is_live.then_some(held.version);
            let version = |key: &String| keys.find(key).map(|held| held.and_then(live));
            wanted.iter().map(|key| version(key).map_err(|error| store.failed(error))).collect()
        })
        .await
    }

    /// In the order of the keys; a cursor is the last of a part, and never forgotten.
    async fn inventory(&self, from: Option<&InventoryCursor>, limit: usize) -> Result<Inventoried, Error> {
        let after = from.map(|cursor| cursor.place().to_owned());
        self.with(move |Opened { store, .. }| {
            let searcher = store.searcher()?;
            let listed = || {
                let keys = Keys::of(&searcher, &store.fields)?;
                list(&keys, after.as_deref(), limit)
            };
            listed().map_err(|error| store.failed(error))
        })
        .await
    }
}

fn list(keys: &Keys<'_>, after: Option<&str>, limit: usize) -> tantivy::Result<Inventoried> {
    let mut documents: Vec<(String, Version)> = Vec::new();
    for segment in keys.segments() {
        let range = segment.terms.terms().range();
        let mut terms = match after {
            Some(after) => range.gt(after),
            None => range,
        }
        .into_stream()?;
        let mut taken = 0;
        // Of each segment no more than are wanted in all.
        while taken <= limit && terms.advance() {
            let postings =
                segment.terms.read_postings_from_terminfo(terms.value(), tantivy::schema::IndexRecordOption::Basic)?;
            if let Some(held) = segment.alive(postings).filter(|held| held.is_live) {
                documents.push((String::from_utf8_lossy(terms.key()).into_owned(), held.version));
                taken += 1;
            }
        }
    }
    documents.sort();
    let is_last = documents.len() <= limit;
    documents.truncate(limit);
    let next = documents.last().filter(|_| !is_last).map(|(key, _)| InventoryCursor::new(key.clone()));
    Ok(Inventoried { documents, next })
}
