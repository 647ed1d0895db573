//! What an index in memory holds.

use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::sink::MemorySink;
use crate::error::{Error, ErrorKind};
use crate::port::{Inventoried, Inventory, InventoryCursor};
use crate::version::Version;

#[async_trait]
impl Inventory for MemorySink {
    async fn versions(&self, keys: &[String]) -> Result<Vec<Option<Version>>, Error> {
        let states = self.states();
        Ok(keys.iter().map(|key| states.get(key)?.held()).collect())
    }

    async fn inventory(&self, from: Option<&InventoryCursor>, limit: usize) -> Result<Inventoried, Error> {
        // A cursor says of which listing it is, and the last key.
        let listing = self.listings.load(Ordering::Relaxed).to_string();
        let after = match from.map(|from| from.place().split_once(' ')) {
            None => None,
            Some(Some((of, key))) if of == listing => Some(key),
            Some(_) => return Err(Error::new(ErrorKind::Fenced, "the listing was forgotten")),
        };
        let states = self.states();
        let is_next = |key: &String| after.is_none_or(|after| key.as_str() > after);
        let mut documents: Vec<(String, Version)> = states
            .iter()
            .filter(|(key, _)| is_next(key))
            .filter_map(|(key, state)| Some((key.clone(), state.held()?)))
            .collect();
        documents.sort_unstable();
        documents.truncate(limit);
        let is_last = documents.len() < limit;
        let next =
            documents.last().filter(|_| !is_last).map(|(key, _)| InventoryCursor::new(format!("{listing} {key}")));
        Ok(Inventoried { documents, next })
    }
}
