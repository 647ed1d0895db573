//! An answer: what was found, and by whom.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::port::{Counted, Facet, Found, Hit};

/// What people are told when the index did not answer.
pub const BANNER: &str = "Search results may be delayed";

/// What was found. Serialized it is the answer services give, in the same shape whoever it is from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The page.
    pub found: Found,
    /// Who found it.
    pub source: &'static str,
    /// It was not the index. It may be slower, and words may be ranked otherwise or not at all.
    pub is_degraded: bool,
    /// How long it took in all.
    pub took: Duration,
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Found { hits, total, facets, next } = &self.found;
        let mut answer = serializer.serialize_struct("Answer", 9)?;
        answer.serialize_field("source", self.source)?;
        answer.serialize_field("degraded", &self.is_degraded)?;
        if self.is_degraded {
            answer.serialize_field("banner", BANNER)?;
        } else {
            answer.skip_field("banner")?;
        }
        answer.serialize_field("took_ms", &u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX))?;
        answer.serialize_field("total", &total.value)?;
        answer.serialize_field("total_is_exact", &total.is_exact)?;
        answer.serialize_field("hits", &hits.iter().map(OneHit).collect::<Vec<_>>())?;
        answer.serialize_field("facets", &facets.iter().map(OneFacet).collect::<Vec<_>>())?;
        answer.serialize_field("next", &next.as_ref().map(ToString::to_string))?;
        answer.end()
    }
}

struct OneHit<'a>(&'a Hit);

impl Serialize for OneHit<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Hit { key, version, document } = self.0;
        // Text as it was found; it is JSON already.
        let document: &RawValue = serde_json::from_str(document).map_err(serde::ser::Error::custom)?;
        let mut hit = serializer.serialize_struct("Hit", 3)?;
        hit.serialize_field("key", key)?;
        hit.serialize_field("version", &version.local())?;
        hit.serialize_field("document", document)?;
        hit.end()
    }
}

struct OneFacet<'a>(&'a Facet);

impl Serialize for OneFacet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Facet { field, values, is_exact } = self.0;
        let mut facet = serializer.serialize_struct("Facet", 3)?;
        facet.serialize_field("field", field)?;
        facet.serialize_field("values", &values.iter().map(OneValue).collect::<Vec<_>>())?;
        facet.serialize_field("is_exact", is_exact)?;
        facet.end()
    }
}

struct OneValue<'a>(&'a Counted);

impl Serialize for OneValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serializer.serialize_struct("Value", 2)?;
        value.serialize_field("value", &self.0.value)?;
        value.serialize_field("count", &self.0.count)?;
        value.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Total;
    use crate::version::Version;

    #[test]
    fn an_answer_has_one_shape_and_a_banner_when_it_is_not_from_the_index() {
        let hit = Hit { key: "a".into(), version: Version::new(0, 7).unwrap(), document: r#"{"n": 1}"#.into() };
        let facet = Facet { field: "s".into(), values: vec![Counted { value: "x".into(), count: 2 }], is_exact: true };
        let total = Total { value: 1, is_exact: true };
        let found = Found { hits: vec![hit], total, facets: vec![facet], next: None };
        let took = Duration::from_micros(12_900);
        let answer = |is_degraded| Answer { found: found.clone(), source: "postgres", is_degraded, took };
        let rest = r#""took_ms":12,"total":1,"total_is_exact":true,"hits":[{"key":"a","version":7,"document":{"n": 1}}],"facets":[{"field":"s","values":[{"value":"x","count":2}],"is_exact":true}],"next":null}"#;
        let banner = format!(r#"{{"source":"postgres","degraded":true,"banner":"{BANNER}",{rest}"#);
        assert_eq!(serde_json::to_string(&answer(true)).unwrap(), banner);
        let none = format!(r#"{{"source":"postgres","degraded":false,{rest}"#);
        assert_eq!(serde_json::to_string(&answer(false)).unwrap(), none);
    }
}
