//! What the mapping's `_meta` keeps for us beside what others keep there: the history the documents are of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::Answer;
use crate::error::{Error, ErrorKind};
use crate::port::History;

/// Our place in `_meta`.
pub(super) const KEY: &str = "sync-core";

/// Appended to the name of an index, asks for its `_meta`.
pub(super) const PATH: &str = "/_mapping?filter_path=*.mappings._meta,error";

/// What stands at our place.
#[derive(Serialize, Deserialize)]
struct Noted {
    epoch: i32,
    history: String,
}

/// The `_meta` of the one index that was asked for; empty where there is none.
pub(super) fn held(answer: &Answer, doing: &str) -> Result<Map<String, Value>, Error> {
    #[derive(Deserialize)]
    struct Index {
        mappings: Mappings,
    }
    #[derive(Deserialize)]
    struct Mappings {
        #[serde(rename = "_meta")]
        meta: Map<String, Value>,
    }
    let found: BTreeMap<String, Index> = answer.read(doing)?;
    Ok(found.into_values().next().map(|index| index.mappings.meta).unwrap_or_default())
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
    let Noted { epoch, history } = Noted::deserialize(noted).map_err(|error| {
        let what = format!("{doing}: _meta.{KEY} of the mapping is no epoch and history; remove it there");
        Error::new(ErrorKind::Configuration, what).with_source(error)
    })?;
    Ok(Some(History { epoch, token: history }))
}

/// The same `_meta` with this history recorded.
pub(super) fn with_history(mut meta: Map<String, Value>, history: &History) -> Map<String, Value> {
    let noted = serde_json::json!({ "epoch": history.epoch, "history": history.token });
    meta.insert(KEY.to_owned(), noted);
    meta
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
    fn what_is_no_history_at_our_place_is_refused_by_name() {
        let error = history(&map(json!({ KEY: "mine" })), "indexes.jobs").unwrap_err();
        assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("_meta.sync-core"), "{error}");
    }
}
