//! What the mapping's `_meta` keeps for us beside what others keep there: the history the documents are of, and which
//! re-index the index was made by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::Answer;
use crate::error::{Error, ErrorKind};
use crate::port::History;

/// Our place in `_meta`.
pub(super) const KEY: &str = "sync-core";

const MADE: &str = "made";
const EPOCH: &str = "epoch";
const HISTORY: &str = "history";
const REINDEX: &str = "reindex";
const INSTEAD_OF: &str = "instead_of";

/// Appended to the name of an index, asks for its `_meta`, and for what has to be said with it.
pub(super) const PATH: &str = "/_mapping?filter_path=*.mappings._meta,*.mappings.enabled,error";

/// What stands at our place of the history.
#[derive(Serialize, Deserialize)]
struct Noted {
    epoch: i32,
    history: String,
}

/// What a mapping holds beside its fields.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Held {
    #[serde(default, rename = "_meta")]
    pub(super) meta: Map<String, Value>,
    #[serde(default)]
    enabled: Option<Value>,
}

impl Held {
    /// The `_meta` of the one index that was asked for; empty where there is none.
    pub(super) fn read(answer: &Answer, doing: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Index {
            mappings: Held,
        }
        let found: BTreeMap<String, Index> = answer.read(doing)?;
        Ok(found.into_values().next().map(|index| index.mappings).unwrap_or_default())
    }

    /// What to send so that the mapping has this `_meta` instead. OpenSearch takes a mapping that does not say `enabled` for one
    /// that is, and refuses it where it is not.
    pub(super) fn with_meta(self, meta: Map<String, Value>) -> Value {
        let mut mapping = Map::new();
        mapping.insert("_meta".to_owned(), Value::Object(meta));
        if let Some(enabled) = self.enabled {
            mapping.insert("enabled".to_owned(), enabled);
        }
        Value::Object(mapping)
    }
}

/// What is configured, over what is held: nobody's keys go, ours neither.
pub(super) fn merged(held: &Map<String, Value>, configured: Map<String, Value>) -> Map<String, Value> {
    let mut merged = held.clone();
    merged.extend(configured);
    merged
}

/// The history that was recorded.
pub(super) fn history(meta: &Map<String, Value>, doing: &str) -> Result<Option<History>, Error> {
    let Some(noted) = meta.get(KEY) else { return Ok(None) };
    // What was noted before there was a history.
    if [MADE, REINDEX, INSTEAD_OF].iter().any(|name| noted.get(name).is_some()) && noted.get(EPOCH).is_none() {
        return Ok(None);
    }
    let Noted { epoch, history } = Noted::deserialize(noted).map_err(|error| {
        let what = format!("{doing}: _meta.{KEY} of the mapping is no epoch and history; remove it there");
        Error::new(ErrorKind::Configuration, what).with_source(error)
    })?;
    Ok(Some(History { epoch, token: history }))
}

/// The same `_meta` with this history recorded.
pub(super) fn with_history(meta: Map<String, Value>, history: &History) -> Map<String, Value> {
    let mut ours = meta.get(KEY).and_then(Value::as_object).cloned().unwrap_or_default();
    note(&mut ours, history);
    with(meta, Value::Object(ours))
}

fn note(ours: &mut Map<String, Value>, history: &History) {
    ours.insert(EPOCH.to_owned(), history.epoch.into());
    ours.insert(HISTORY.to_owned(), history.token.as_str().into());
}

/// What stands at our place of an index that was made by us, from the beginning.
pub(super) fn made() -> Value {
    serde_json::json!({ MADE: true })
}

/// The same `_meta` with this at our place.
pub(super) fn with(mut meta: Map<String, Value>, ours: Value) -> Map<String, Value> {
    meta.insert(KEY.to_owned(), ours);
    meta
}

/// What stands at our place of an index that a re-index makes, `instead_of` one with these mappings where it has others.
pub(super) fn of_reindex(reindex: i64, history: Option<&History>, instead_of: Option<&Map<String, Value>>) -> Value {
    let mut ours = Map::new();
    ours.insert(REINDEX.to_owned(), reindex.into());
    if let Some(mappings) = instead_of {
        ours.insert(INSTEAD_OF.to_owned(), Value::Object(mappings.clone()));
    }
    if let Some(history) = history {
        note(&mut ours, history);
    }
    Value::Object(ours)
}

/// The same `_meta`, of an index that takes its place again while these mappings are configured, which are the other one's.
pub(super) fn with_instead_of(meta: Map<String, Value>, mappings: &Map<String, Value>) -> Map<String, Value> {
    let mut ours = meta.get(KEY).and_then(Value::as_object).cloned().unwrap_or_default();
    ours.insert(INSTEAD_OF.to_owned(), Value::Object(mappings.clone()));
    with(meta, Value::Object(ours))
}

/// The re-index that made the index.
pub(super) fn reindex(meta: &Map<String, Value>) -> Option<i64> {
    meta.get(KEY)?.get(REINDEX)?.as_i64()
}

/// The mappings that were configured when a re-index made the index of others.
pub(super) fn instead_of(meta: &Map<String, Value>) -> Option<&Map<String, Value>> {
    meta.get(KEY)?.get(INSTEAD_OF)?.as_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        Map::deserialize(value).unwrap()
    }

    #[test]
    fn a_history_is_recorded_beside_what_others_keep_and_read_back() {
        let theirs = map(json!({ "owner": "search", "sync": { "epoch": "theirs" } }));
        assert_eq!(history(&theirs, "").unwrap(), None);
        let recorded = History { epoch: 3, token: "t".to_owned() };
        let both = with_history(theirs.clone(), &recorded);
        assert_eq!(history(&both, "").unwrap(), Some(recorded));
        assert!(theirs.iter().all(|(key, value)| both.get(key) == Some(value)), "{both:?}");
        let configured = merged(&both, map(json!({ "owner": "jobs", "more": 1 })));
        assert_eq!(configured["owner"], "jobs");
        assert_eq!((&configured["more"], &configured["sync"]), (&json!(1), &json!({ "epoch": "theirs" })));
        assert_eq!(configured[KEY], both[KEY], "ours stays");
    }

    #[test]
    fn what_a_re_index_notes_stays_beside_the_history() {
        let mappings = map(json!({ "properties": {} }));
        let made = map(json!({ KEY: of_reindex(7, None, Some(&mappings)) }));
        assert_eq!((reindex(&made), instead_of(&made), history(&made, "").unwrap()), (Some(7), Some(&mappings), None));
        let recorded = History { epoch: 3, token: "t".to_owned() };
        let later = with_history(made, &recorded);
        assert_eq!((reindex(&later), instead_of(&later)), (Some(7), Some(&mappings)));
        assert_eq!(history(&later, "").unwrap(), Some(recorded.clone()));
        let back = with_instead_of(map(json!({ "owner": "search" })), &mappings);
        assert_eq!((reindex(&back), instead_of(&back), history(&back, "").unwrap()), (None, Some(&mappings), None));
        let made = map(json!({ KEY: of_reindex(7, Some(&recorded), None) }));
        assert_eq!((history(&made, "").unwrap(), instead_of(&made)), (Some(recorded), None));
    }

    #[test]
    fn what_is_no_history_at_our_place_is_refused_by_name() {
        let error = history(&map(json!({ KEY: "mine" })), "indexes.jobs").unwrap_err();
        assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("_meta.sync-core"), "{error}");
    }
}
