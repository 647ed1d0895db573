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
    let json: Option<&RawValue> = serde_json::from_str(&data).ok();
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
    let content_type = if json.is_some() { JSON } else { TEXT };
    let (value, mut all) = match mode {
        CloudEventsMode::Binary => {
            let mut all: Vec<Header> = vec![(CONTENT_TYPE.into(), content_type.into())];
            all.extend(attributes.into_iter().map(|(name, value)| (format!("ce_{name}").into(), value)));
            (data, all)
        }
        CloudEventsMode::Structured => {
            attributes.push(("datacontenttype".into(), content_type.into()));
            let whole = Structured { attributes: &attributes, data: &data, json };
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
    // The specification has no room for such a subject, nor its binding for such a key.
    let has_subject = !event.key.is_empty() && !event.key.contains(char::is_control);
    let is_said = |name: &str| has_subject || !matches!(name, "subject" | "partitionkey");
    attributes.into_iter().filter(|(name, _)| is_said(name)).map(|(name, value)| (name.into(), value)).collect()
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
    /// The data, where that is JSON.
    json: Option<&'a RawValue>,
}

impl Serialize for Structured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.attributes {
            map.serialize_entry(name, value)?;
        }
        match self.json {
            Some(data) => map.serialize_entry("data", data)?,
            None => map.serialize_entry("data", self.data)?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Action;

    fn event(payload: Option<&str>, headers: &[(&str, &str)]) -> Event {
        Event {
            id: 17,
            topic: "orders".into(),
            key: "o \"1\"".into(),
            version: 281_474_976_710_655,
            action: Action::Index,
            payload: payload.map(str::to_owned),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            created_at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        }
    }

    fn said(message: &Outgoing) -> Vec<String> {
        message.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn a_binary_event_says_in_headers_what_it_is_and_has_its_payload_as_it_is() {
        let own =
            [("type", "paid"), ("tenant", "7"), ("Content-Type", "x"), ("ce_id", "x"), ("a-b", "y"), ("version", "z")];
        let message = message(event(Some("{\"a\":  1}"), &own), 2, CloudEventsMode::Binary, "/shop");
        assert_eq!(message.value.as_deref(), Some("{\"a\":  1}"));
        let expected = "content-type: application/json|ce_specversion: 1.0|ce_id: 2-17|ce_source: /shop|ce_type: paid|\
                        ce_subject: o \"1\"|ce_time: 2026-01-02T03:04:05.678901Z|ce_partitionkey: o \"1\"|ce_action: INDEX|\
                        ce_version: 281474976710655|ce_epoch: 2|ce_tenant: 7|a-b: y|version: z";
        assert_eq!(said(&message).join("|"), expected);
    }

    #[test]
    fn a_structured_event_is_one_object_with_its_data_inside() {
        let traced = [("traceparent", "00-1-2-01"), ("id", "0192"), ("anamethatistoolongforone", "y")];
        let message = message(event(Some("[1.50]"), &traced), 0, CloudEventsMode::Structured, "/shop");
        let expected = r#"{"specversion":"1.0","id":"0192","source":"/shop","type":"orders","subject":"o \"1\"","#
            .to_owned()
            + r#""time":"2026-01-02T03:04:05.678901Z","partitionkey":"o \"1\"","action":"INDEX","#
            + r#""version":"281474976710655","epoch":"0","traceparent":"00-1-2-01","#
            + r#""datacontenttype":"application/json","data":[1.50]}"#;
        assert_eq!(message.value, Some(expected));
        let structured = format!("content-type: {STRUCTURED}");
        assert_eq!(said(&message), [&structured, "traceparent: 00-1-2-01", "anamethatistoolongforone: y"]);
    }

    #[test]
    fn what_is_no_json_is_a_text_and_where_there_is_no_payload_the_standard_value_is_the_data() {
        let text = message(event(Some("a \"b"), &[]), 0, CloudEventsMode::Structured, "/shop");
        assert!(text.value.unwrap().ends_with(r#""datacontenttype":"text/plain; charset=utf-8","data":"a \"b"}"#));
        let text = message(event(Some(""), &[]), 0, CloudEventsMode::Binary, "/shop");
        assert_eq!((text.value.as_deref(), &*text.headers[0].1), (Some(""), TEXT));
        let none = message(event(None, &[]), 0, CloudEventsMode::Binary, "/shop");
        assert_eq!(none.value, Some(standard::value(&event(None, &[]))));
    }
}
