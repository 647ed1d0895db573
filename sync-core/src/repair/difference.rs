//! In what an index and the database differ about one key.

use crate::port::{Current, Stored};
use crate::version::Version;

/// One key whose document differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The key.
    pub key: String,
    /// In what.
    pub kind: DifferenceKind,
    /// Its version in the database.
    pub database: Version,
    /// The version the index holds.
    pub index: Option<Version>,
}

/// In what a document differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DifferenceKind {
    /// The index does not have it.
    Missing,
    /// The index has an older version.
    Stale,
    /// The index has a document, the database has none.
    Orphan,
    /// The index has a newer version than there is.
    Ahead,
    /// The version is the same, the content is not.
    Drifted,
}

impl DifferenceKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Missing, Self::Stale, Self::Orphan, Self::Ahead, Self::Drifted];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Orphan => "orphan",
            Self::Ahead => "ahead",
            Self::Drifted => "drifted",
        }
    }
}

/// What the versions alone say, of a key that is at `version` in the database and has a document there or not.
pub(super) fn by_version(version: Version, has_document: bool, held: Option<Version>) -> Option<DifferenceKind> {
    match held {
        None => has_document.then_some(DifferenceKind::Missing),
        Some(_) if !has_document => Some(DifferenceKind::Orphan),
        Some(held) if held > version => Some(DifferenceKind::Ahead),
        // The epoch is the database's: a row nobody has changed since it began was written in an earlier one.
        Some(held) if held.local() != version.local() => Some(DifferenceKind::Stale),
        Some(_) => None,
    }
}

/// What versions and content say.
pub(super) fn by_content(current: &Current, stored: Option<&Stored>) -> Option<DifferenceKind> {
    let by_version = by_version(current.version, current.document.is_some(), stored.map(|stored| stored.version));
    let (None, Some(stored), Some(document)) = (by_version, stored, &current.document) else { return by_version };
    if same_content(document, &stored.document) {
        None
    } else if stored.version < current.version {
        // An earlier epoch gave this number to a state that was lost.
        Some(DifferenceKind::Stale)
    } else {
        Some(DifferenceKind::Drifted)
    }
}

/// As JSON, so that spaces and the order of fields do not count.
fn same_content(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || parse(one).is_some_and(|one| parse(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_say_what_is_missing_stale_ahead_and_orphaned() {
        let at = |epoch, local| Version::new(epoch, local).unwrap();
        let of = |held| by_version(at(1, 5), true, held);
        assert_eq!(of(None), Some(DifferenceKind::Missing));
        assert_eq!(of(Some(at(1, 4))), Some(DifferenceKind::Stale));
        assert_eq!(of(Some(at(0, 9))), Some(DifferenceKind::Stale), "of commits that were lost");
        assert_eq!(of(Some(at(1, 5))), None);
        assert_eq!(of(Some(at(0, 5))), None, "not changed since the epoch began");
        assert_eq!(of(Some(at(1, 6))), Some(DifferenceKind::Ahead));
        assert_eq!(of(Some(at(2, 0))), Some(DifferenceKind::Ahead));
        assert_eq!(by_version(at(1, 5), false, None), None);
        assert_eq!(by_version(at(1, 5), false, Some(at(0, 1))), Some(DifferenceKind::Orphan));
    }

    #[test]
    fn a_document_differs_by_absence_version_or_content_and_not_by_spelling() {
        let current = |epoch, document: &str| Current {
            key: "a".to_owned(),
            version: Version::new(epoch, 5).unwrap(),
            document: Some(document.to_owned()),
        };
        let stored = |version, document: &str| Stored {
            version: Version::from_external(version),
            document: document.to_owned(),
        };
        let found = |stored: Option<Stored>| by_content(&current(0, r#"{"x":1,"y":[2]}"#), stored.as_ref());
        assert_eq!(found(Some(stored(5, r#"{ "y": [2], "x": 1 }"#))), None);
        assert_eq!(found(None), Some(DifferenceKind::Missing));
        assert_eq!(found(Some(stored(4, r#"{"x":1,"y":[2]}"#))), Some(DifferenceKind::Stale));
        assert_eq!(found(Some(stored(6, r#"{"x":1,"y":[2]}"#))), Some(DifferenceKind::Ahead));
        assert_eq!(found(Some(stored(5, r#"{"x":2,"y":[2]}"#))), Some(DifferenceKind::Drifted));
        assert!(!same_content("no json", "nor this"));
        let found =
            |version, document: &str| by_content(&current(1, r#"{"x":1,"y":[2]}"#), Some(&stored(version, document)));
        assert_eq!(found(5, r#"{"x":1,"y":[2]}"#), None, "unchanged since the epoch began");
        assert_eq!(found(5, r#"{"x":2,"y":[2]}"#), Some(DifferenceKind::Stale));
        assert_eq!(found(6, r#"{"x":1,"y":[2]}"#), Some(DifferenceKind::Stale));
    }
}
