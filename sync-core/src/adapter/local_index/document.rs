//! A document as it is written: what is searched of it, and itself.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;
use serde_json::value::RawValue;
use tantivy::TantivyDocument;
use tantivy::schema::Field;

use super::fields::{IndexFields, Kind, Named, Properties, Property, Searched};
use crate::error::{Error, ErrorKind};
use crate::port::Write;
use crate::query::moment;

/// The longest key, in bytes; what Elasticsearch takes as a document's id.
const MAX_KEY_BYTES: usize = 512;

/// The longest keyword, in bytes; as in Elasticsearch.
const MAX_KEYWORD_BYTES: usize = 32_766;

/// In so many lists and objects a value may be.
const MAX_DEPTH: usize = 100;

/// One write as the index keeps it: a document, or a tombstone of this moment (seconds since 1970 began).
///
/// # Errors
/// `Refused` when its key is none, or its document does not fit the mapping.
pub(super) fn of_write(write: &Write, fields: &IndexFields, now: i64) -> Result<TantivyDocument, Error> {
    let length = write.key.len();
    if length == 0 || length > MAX_KEY_BYTES {
        let what = format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {length}");
        return Err(Error::new(ErrorKind::Refused, what));
    }
    let mut made = TantivyDocument::new();
    made.add_text(fields.key, &write.key);
    made.add_u64(fields.version, write.version.external());
    let Some(document) = &write.document else {
        made.add_bool(fields.live, false);
        made.add_i64(fields.deleted_at, now);
        return Ok(made);
    };
    made.add_bool(fields.live, true);
    made.add_text(fields.document, document);
    let refused = |what: String| Error::new(ErrorKind::Refused, format!("the document of key {:?}: {what}", write.key));
    let no_object = |error: serde_json::Error| refused("it is not a JSON object".to_owned()).with_source(error);
    let object: Object<'_> = serde_json::from_str(document).map_err(no_object)?;
    let mut reading = Reading { made, held: HashSet::new() };
    reading.object(&object, &fields.properties, "", 0).map_err(refused)?;
    Ok(reading.made)
}

/// An object whose values are not read yet: of most of them nothing is asked.
type Object<'a> = HashMap<String, &'a RawValue>;

struct Reading {
    made: TantivyDocument,
    /// Keywords this document has already: a value counts once.
    held: HashSet<(Field, String)>,
}

impl Reading {
    fn object(
        &mut self,
        object: &Object<'_>,
        properties: &Properties,
        prefix: &str,
        depth: usize,
    ) -> Result<(), String> {
        for (name, value) in object {
            let path = format!("{prefix}{name}");
            match properties.named(name) {
                Named::Refused => return Err(format!("{path} is not in the mapping, which is strict")),
                Named::Unknown | Named::Known(Property::Kept) => {}
                Named::Known(Property::Object(inside)) => self.objects(value, inside, &path, depth)?,
                Named::Known(Property::Searched(searched)) => self.values(value, *searched, &path, depth)?,
            }
        }
        Ok(())
    }

    /// An object, or several of them.
    fn objects(&mut self, value: &RawValue, properties: &Properties, path: &str, depth: usize) -> Result<(), String> {
        let inside = deeper(depth, path)?;
        let text = value.get();
        if text == "null" {
            return Ok(());
        }
        let no_object = || format!("{path} is an object in the mapping, and no object here");
        if text.starts_with('[') {
            let several: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| no_object())?;
            return several.into_iter().try_for_each(|value| self.objects(value, properties, path, inside));
        }
        let object: Object<'_> = serde_json::from_str(text).map_err(|_| no_object())?;
        self.object(&object, properties, &format!("{path}."), inside)
    }

    fn values(&mut self, value: &RawValue, searched: Searched, path: &str, depth: usize) -> Result<(), String> {
        let text = value.get();
        if text.starts_with('[') {
            let inside = deeper(depth, path)?;
            let several: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| format!("{path}: {error}"))?;
            return several.into_iter().try_for_each(|value| self.values(value, searched, path, inside));
        }
        let value: Json = serde_json::from_str(text).map_err(|error| format!("{path}: {error}"))?;
        if value.is_null() || self.add(&value, searched, path)? {
            return Ok(());
        }
        Err(format!("{path}: {} is no {}", shortened(text), word_for(searched.kind)))
    }

    /// Adds a value, if it is one of that kind.
    fn add(&mut self, value: &Json, Searched { field, kind }: Searched, path: &str) -> Result<bool, String> {
        let made = &mut self.made;
        Ok(match kind {
            Kind::Text => plain(value).map(|text| made.add_text(field, text)).is_some(),
            Kind::Keyword => {
                let Some(text) = plain(value) else { return Ok(false) };
                if text.len() > MAX_KEYWORD_BYTES {
                    return Err(format!("{path}: a keyword of {} bytes, more than {MAX_KEYWORD_BYTES}", text.len()));
                }
                if self.held.insert((field, text.clone())) {
                    made.add_text(field, &text);
                }
                true
            }
            Kind::Whole => whole(value).map(|number| made.add_i64(field, number)).is_some(),
            Kind::Number => number(value).map(|number| made.add_f64(field, number)).is_some(),
            Kind::Date => date(value).map(|micros| made.add_i64(field, micros)).is_some(),
            Kind::Boolean => boolean(value).map(|is| made.add_bool(field, is)).is_some(),
        })
    }
}

/// One list or object further in.
fn deeper(depth: usize, path: &str) -> Result<usize, String> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(format!("{path}: nested too deeply")) }
}

const fn word_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Keyword => "text",
        Kind::Whole => "whole number",
        Kind::Number => "number",
        Kind::Date => "date",
        Kind::Boolean => "boolean",
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(40).collect::<String>())
    }
}

/// Text, or what is written of a number or a boolean.
fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(is) => Some(is.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn whole(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite())
}

/// Microseconds; of a number, which is milliseconds, as well.
fn date(value: &Json) -> Option<i64> {
    match value.as_i64() {
        Some(millis) => millis.checked_mul(1_000),
        None => moment(value.as_str()?),
    }
}

fn boolean(value: &Json) -> Option<bool> {
    match value.as_str() {
        Some("true") => Some(true),
        Some("false" | "") => Some(false),
        Some(_) => None,
        None => value.as_bool(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    const MAPPING: &str = r#"{"mappings":{"dynamic":"strict","properties":{"t":{"type":"text"},"k":{"type":"keyword"},
        "n":{"type":"integer"},"x":{"type":"double"},"d":{"type":"date"},"b":{"type":"boolean"},"ip":{"type":"ip"},
        "o":{"properties":{"k":{"type":"keyword"}}},"loose":{"dynamic":false,"properties":{}}}}}"#;

    fn made(document: &str) -> Result<TantivyDocument, Error> {
        let write = Write { key: "a".into(), version: Version::default(), document: Some(document.to_owned()) };
        of_write(&write, &IndexFields::of_mapping(MAPPING, "here").unwrap(), 0)
    }

    #[test]
    fn what_fits_the_mapping_is_taken() {
        for document in [
            "{}",
            r#"{"t":"a","k":["x","y",null],"n":-3,"x":1,"d":"2026-01-31T08:00:00+00:00","b":false,"ip":"::1"}"#,
            r#"{"n":"7","x":"1.5","d":1769846400000,"b":"true","k":5,"t":true}"#,
            r#"{"n":null,"o":null,"d":"2026-01-31"}"#,
            r#"{"o":[{"k":"a"},{"k":["b"]}],"loose":{"anything":[1,{"at":"all"}]}}"#,
        ] {
            made(document).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_the_mapping_is_refused_by_name() {
        for (document, told) in [
            (r#"{"n":1.5}"#, "n: 1.5 is no whole number"),
            (r#"{"n":"many"}"#, "n: \"many\" is no whole number"),
            (r#"{"x":"NaN"}"#, "x: \"NaN\" is no number"),
            (r#"{"d":"yesterday"}"#, "d: \"yesterday\" is no date"),
            (r#"{"b":1}"#, "b: 1 is no boolean"),
            (r#"{"k":{"a":1}}"#, "k: {\"a\":1} is no text"),
            (r#"{"t":{"a":1}}"#, "t: {\"a\":1} is no text"),
            (r#"{"o":"text"}"#, "o is an object in the mapping"),
            (r#"{"o":{"other":1}}"#, "o.other is not in the mapping"),
            (r#"{"other":1}"#, "other is not in the mapping"),
        ] {
            let error = made(document).unwrap_err();
            assert!(error.kind() == ErrorKind::Refused && error.to_string().contains(told), "{error}");
        }
        let long = format!(r#"{{"k":"{}"}}"#, "x".repeat(MAX_KEYWORD_BYTES + 1));
        assert!(made(&long).unwrap_err().to_string().contains("k: a keyword of 32767 bytes"));
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_and_ends_no_process() {
        let nested = |name: &str, open: &str, close: &str, depth| {
            format!(r#"{{"{name}":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
        };
        made(&nested("k", "[", "]", 100)).unwrap();
        made(&nested("ip", "[", "]", 14_000)).unwrap();
        made(&nested("loose", r#"{"a":"#, "}", 14_000)).unwrap();
        for (name, open, close) in [("k", "[", "]"), ("o", "[", "]"), ("k", "{\"a\":", "}"), ("t", "[{\"a\":", "}]")] {
            for depth in [101, 14_000] {
                let Err(error) = made(&nested(name, open, close, depth)) else { panic!("{name} {depth}") };
                assert_eq!(error.kind(), ErrorKind::Refused, "{name} {depth}");
            }
        }
        let error = made(&nested("k", "[", "]", 101)).unwrap_err();
        assert!(error.to_string().contains("k: nested too deeply"), "{error}");
    }

    #[test]
    fn a_name_with_dots_is_a_path_into_objects() {
        for document in [r#"{"o.k":"x"}"#, r#"{"ip.of":1,"loose.other":1}"#] {
            made(document).unwrap();
        }
        let error = made(r#"{"o.other":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("o.other is not in the mapping"), "{error}");
    }
}
