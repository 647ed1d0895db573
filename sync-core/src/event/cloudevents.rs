//! Events as `CloudEvents` 1.0, by their binding to Kafka.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{CloudEventsMode, Event, Header, Outgoing, standard};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// Where a binary message says what its value is; of a structured one, what all of it is.
const CONTENT_TYPE: &str = "content-type";

/// Names that are taken: by the specification, or by what is said here. An event's own header of such a name is no attribute.
const TAKEN: [&str; 13] = [
    "id",
    "source",
    "specversion",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "partitionkey",
    "action",
    "version",
    "epoch",
];

/// What the message of a traced event says to whoever follows traces and reads no attributes: the indexer, for one. The extension
/// for tracing has the same beside it.
const TRACING: [&str; 2] = ["traceparent", "tracestate"];

/// The message of an event in the history `epoch`.
pub(super) fn message(mut event: Event, epoch: i32, mode: CloudEventsMode, source: &str) -> Outgoing {
    let data = event.payload.take().unwrap_or_else(|| standard::value(&event));
    // Of a route by a column of text it may be anything.
    let is_json = serde_json::from_str::<&RawValue>(&data).is_ok();
    let mut attributes = attributes(&event, epoch, source);
    let mut headers = Vec::new();
    for (name, value) in event.headers {
        if is_attribute(&name) {
            if TRACING.contains(&name.as_str()) {
                headers.push((name.clone().into(), value.clone().into()));
            }
            attributes.push((name.into(), value.into()));
        } else if !is_of_the_binding(&name) {
            headers.push((name.into(), value.into()));
        }
    }
    let content_type = if is_json { JSON } else { TEXT };
    let (value, mut all) = match mode {
        CloudEventsMode::Binary => {
            let mut all: Vec<Header> = vec![(CONTENT_TYPE.into(), content_type.into())];
            all.extend(attributes.into_iter().map(|(name, value)| (format!("ce_{name}").into(), value)));
            (data, all)
        }
        CloudEventsMode::Structured => {
            attributes.push(("datacontenttype".into(), content_type.into()));
            let whole = Structured { attributes: &attributes, data: &data };
            // Serialising texts into memory has no way to fail.
            (serde_json::to_string(&whole).unwrap_or_default(), vec![(CONTENT_TYPE.into(), STRUCTURED.into())])
        }
    };
    all.append(&mut headers);
    Outgoing { topic: event.topic, key: event.key, value: Some(value), headers: all }
}

/// The attributes every event has.
fn attributes(event: &Event, epoch: i32, source: &str) -> Vec<Header> {
    // An id may be given out again in a later epoch.
    let id = event.header("id").map_or_else(|| format!("{epoch}-{}", event.id), str::to_owned);
    let kind = event.header("type").unwrap_or(&event.topic).to_owned();
    let attributes: [(&'static str, Cow<'static, str>); 10] = [
        ("specversion", "1.0".into()),
        ("id", id.into()),
        ("source", source.to_owned().into()),
        ("type", kind.into()),
        ("subject", event.key.clone().into()),
        ("time", event.created_at.to_string().into()),
        ("partitionkey", event.key.clone().into()),
        ("action", event.action.as_str().into()),
        // Texts, because a number of the specification has 32 bits.
        ("version", event.version.to_string().into()),
        ("epoch", epoch.to_string().into()),
    ];
    attributes.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// Whether a header of this name is an attribute too: letters and digits, and no more of them than every intermediary takes.
fn is_attribute(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=20).contains(&name.len()) && name.bytes().all(is_part) && !TAKEN.contains(&name)
}

/// Whether the binding has a meaning for a header of this name, or this event has one for it already.
fn is_of_the_binding(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE) || name.starts_with("ce_") || name == "id" || name == "type"
}

/// The whole event as JSON.
struct Structured<'a> {
    attributes: &'a [Header],
    data: &'a str,
}

impl Serialize for Structured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.attributes {
            map.serialize_entry(name, value)?;
        }
        // As it is where it is JSON; else as a string.
        match serde_json::from_str::<&RawValue>(self.data) {
            Ok(data) => map.serialize_entry("data", data)?,
            Err(_) => map.serialize_entry("data", self.data)?,
        }
        map.end()
    }
}
