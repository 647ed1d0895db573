//! Every document of the projection against the index: key by key, version by version, content by content.

use super::difference::{Difference, by_content};
use crate::error::Error;
use crate::port::{Current, Projection, Sink, Stored};

/// Keys compared at once.
const PAGE: usize = 1_000;

/// Differences told by key; the others are only counted.
const TOLD: usize = 20;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// Documents the projection has.
    pub documents: u64,
    /// Of these, the ones the index holds in the same version with the same content; in the version of an earlier epoch,
    /// too, where nothing has changed since.
    pub equal: u64,
    /// Documents the index has.
    pub indexed: u64,
    /// The first differences, at most twenty.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether the index holds exactly what the database holds.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.equal == self.documents && self.indexed == self.documents
    }
}

/// Compares all of them. What is on its way meanwhile counts as different, so it says "equal" only when all is quiet.
/// Memory is bounded; dropped half-way, nothing happened.
///
/// # Errors
/// What the projection and the sink say.
pub async fn compare(projection: &dyn Projection, sink: &dyn Sink) -> Result<Comparison, Error> {
    let mut comparison = Comparison::default();
    let mut after: Option<String> = None;
    loop {
        let page = projection.scan(after.as_deref(), PAGE).await?;
        let keys: Vec<_> = page.iter().map(|current| current.key.clone()).collect();
        let stored = if keys.is_empty() { Vec::new() } else { sink.fetch(&keys).await? };
        // A key without an answer counts as missing.
        for (place, current) in page.iter().enumerate() {
            comparison.count(current, stored.get(place).and_then(Option::as_ref));
        }
        after = keys.into_iter().next_back();
        if page.len() < PAGE {
            break;
        }
    }
    comparison.indexed = sink.count().await?;
    Ok(comparison)
}

impl Comparison {
    fn count(&mut self, current: &Current, stored: Option<&Stored>) {
        self.documents += 1;
        match by_content(current, stored) {
            None => self.equal += 1,
            Some(kind) if self.differences.len() < TOLD => {
                let index = stored.map(|stored| stored.version);
                self.differences.push(Difference { key: current.key.clone(), kind, database: current.version, index });
            }
            Some(_) => {}
        }
    }
}
