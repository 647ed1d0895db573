//! What an index in memory holds.

use async_trait::async_trait;

use super::sink::MemorySink;
use crate::error::Error;
use crate::port::{Inventoried, Inventory, InventoryCursor};
use crate::version::Version;

#[async_trait]
impl Inventory for MemorySink {
    async fn versions(&self, keys: &[String]) -> Result<Vec<Option<Version>>, Error> {
        let states = self.states();
        Ok(keys.iter().map(|key| states.get(key)?.held()).collect())
    }

    async fn inventory(&self, from: Option<&InventoryCursor>, limit: usize) -> Result<Inventoried, Error> {
        let states = self.states();
        let is_next = |key: &String| from.is_none_or(|from| key.as_str() > from.place());
        let mut documents: Vec<(String, Version)> = states
            .iter()
            .filter(|(key, _)| is_next(key))
            .filter_map(|(key, state)| Some((key.clone(), state.held()?)))
            .collect();
        documents.sort_unstable();
        documents.truncate(limit);
        let is_last = documents.len() < limit;
        let next = documents.last().filter(|_| !is_last).map(|(key, _)| InventoryCursor::new(key.clone()));
        Ok(Inventoried { documents, next })
    }
}
