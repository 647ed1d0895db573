//! Every document of the projection against the index: key by key, version by version, content by content.

use serde_json::Value;

use crate::error::Error;
use crate::port::{Current, Projection, Sink, Stored};

/// Keys compared at once.
const PAGE: usize = 1_000;

/// Differences told by key; the others are only counted.
const TOLD: usize = 20;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// One key whose document differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// In what.
    pub kind: DifferenceKind,
}

/// In what a document differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The index does not have it.
    Missing,
    /// The index has an older version.
    Stale,
    /// The index has a newer version.
    Ahead,
    /// The version is the same, the content is not.
    Drifted,
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
        match difference(current, stored) {
            None => self.equal += 1,
            Some(kind) if self.differences.len() < TOLD => {
                self.differences.push(Difference { key: current.key.clone(), kind });
            }
            Some(_) => {}
        }
    }
}

fn difference(current: &Current, stored: Option<&Stored>) -> Option<DifferenceKind> {
    let Some(stored) = stored else { return Some(DifferenceKind::Missing) };
    if stored.version > current.version {
        return Some(DifferenceKind::Ahead);
    }
    let same = current.document.as_deref() == Some(stored.document.as_str())
        || parse(current.document.as_deref()) == parse(Some(&stored.document));
    // The epoch is the database's: a row nobody has changed since it began was written in an earlier one.
    let is_last_change = stored.version.local() == current.version.local();
    if stored.version < current.version && !(same && is_last_change) {
        return Some(DifferenceKind::Stale);
    }
    (!same).then_some(DifferenceKind::Drifted)
}

/// As JSON, so that spaces and the order of fields do not count.
fn parse(document: Option<&str>) -> Option<Value> {
    serde_json::from_str(document?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    #[test]
    fn a_document_differs_by_absence_version_or_content_and_not_by_spelling() {
        let current = Current {
            key: "a".to_owned(),
            version: Version::from_external(5),
            document: Some(r#"{"x":1,"y":[2]}"#.to_owned()),
        };
        let stored = |version, document: &str| Stored {
            version: Version::from_external(version),
            document: document.to_owned(),
        };
        let found = |stored: Option<Stored>| difference(&current, stored.as_ref());
        assert_eq!(found(Some(stored(5, r#"{ "y": [2], "x": 1 }"#))), None);
        assert_eq!(found(None), Some(DifferenceKind::Missing));
        assert_eq!(found(Some(stored(4, r#"{"x":1,"y":[2]}"#))), Some(DifferenceKind::Stale));
        assert_eq!(found(Some(stored(6, r#"{"x":1,"y":[2]}"#))), Some(DifferenceKind::Ahead));
        assert_eq!(found(Some(stored(5, r#"{"x":2,"y":[2]}"#))), Some(DifferenceKind::Drifted));
        let current = Current { version: Version::new(1, 5).unwrap_or_default(), ..current.clone() };
        let found = |version, document: &str| difference(&current, Some(&stored(version, document)));
        assert_eq!(found(5, r#"{"x":1,"y":[2]}"#), None, "unchanged since the epoch began");
        assert_eq!(found(5, r#"{"x":2,"y":[2]}"#), Some(DifferenceKind::Stale));
        assert_eq!(found(6, r#"{"x":1,"y":[2]}"#), Some(DifferenceKind::Stale));
    }
}
