//! `CloudEvents`, read by the specification's own library.

use std::collections::BTreeMap;

use cloudevents::event::SpecVersion;
use cloudevents::message::{BinaryDeserializer, BinarySerializer, MessageAttributeValue, Result};
use cloudevents::{AttributesReader, Event};
use sync_core::event::CloudEventsMode;
use sync_core::port::Incoming;

use super::{DELIVERIES, SOURCE, cloudevents, published, texts};
use crate::scenario::outbox_sql::word;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A message in binary mode, taken apart as the binding to Kafka says.
struct Binary<'a>(&'a Incoming);

impl BinaryDeserializer for Binary<'_> {
    fn deserialize_binary<R: Sized, V: BinarySerializer<R>>(self, mut visitor: V) -> Result<R> {
        let (value, headers) = texts(self.0);
        let version = headers.iter().find(|(name, _)| *name == "ce_specversion").expect("it is an event").1;
        let version = SpecVersion::try_from(version)?;
        let known = version.attribute_names();
        visitor = visitor.set_spec_version(version)?;
        for (name, value) in headers {
            let value = MessageAttributeValue::String(value.to_owned());
            visitor = match name.strip_prefix("ce_") {
                None if name == "content-type" => visitor.set_attribute("datacontenttype", value)?,
                None | Some("specversion") => visitor,
                Some(name) if known.contains(&name) => visitor.set_attribute(name, value)?,
                Some(name) => visitor.set_extension(name, value)?,
            };
        }
        visitor.end_with_data(value.expect("there is data").as_bytes().to_vec())
    }
}

/// Extension attributes by name.
fn extensions(event: &Event) -> BTreeMap<&str, String> {
    event.iter_extensions().map(|(name, value)| (name, value.to_string())).collect()
}

fn data(event: &Event) -> String {
    match event.data().expect("there is data") {
        cloudevents::Data::Binary(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        cloudevents::Data::String(text) => text.clone(),
        cloudevents::Data::Json(json) => json.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_read_as_cloud_events_that_say_the_same_in_both_modes() {
    for (mode, delivery) in [CloudEventsMode::Binary, CloudEventsMode::Structured].into_iter().zip(DELIVERIES) {
        let (client, seen) = published(&cloudevents(mode), delivery).await;
        let (headers, events): (Vec<_>, Vec<Event>) = seen
            .iter()
            .map(|message| match mode {
                CloudEventsMode::Binary => (texts(message).1, BinaryDeserializer::into_event(Binary(message)).unwrap()),
                CloudEventsMode::Structured => {
                    let (value, headers) = texts(message);
                    (headers, serde_json::from_str(value.unwrap()).unwrap())
                }
            })
            .unzip();
        let topic = word(&client, "select topic from outbox.events limit 1").await;
        let said: Vec<_> = events.iter().map(|event| (event.id(), event.ty())).collect();
        let topic = topic.as_str();
        let row = ("0192aa00-0000-7000-8000-00000000000a", "created");
        assert_eq!(said, [row, ("7", topic), ("8", topic), ("0-4", topic), ("0-5", topic)], "{mode:?}");
        for event in &events {
            assert_eq!((event.source().as_str(), event.subject()), (SOURCE, Some("größe")));
            let age = jiff::Timestamp::now().as_second() - event.time().expect("there is a time").timestamp();
            assert!((0..300).contains(&age), "{age}");
        }
        let common = |action: &str, version: &str| {
            let common = [("action", action), ("epoch", "0"), ("partitionkey", "größe"), ("version", version)];
            common.map(|(name, value)| (name, value.to_owned())).into_iter().collect::<BTreeMap<_, _>>()
        };
        assert_eq!(extensions(&events[0]), common("INDEX", "1"));
        assert_eq!(extensions(&events[2]), common("DELETE", "3"));
        let mut tenant = common("INDEX", "4");
        tenant.insert("tenant", "3".to_owned());
        assert_eq!(extensions(&events[3]), tenant, "neither an odd name nor one that is taken is an attribute");
        let mut traced = common("DELETE", "5");
        traced.insert("traceparent", TRACE.to_owned());
        assert_eq!(extensions(&events[4]), traced);

        let types: Vec<_> = events.iter().map(|event| event.datacontenttype().unwrap()).collect();
        let json = "application/json";
        assert_eq!(types, [json, "text/plain; charset=utf-8", json, json, json]);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&data(&events[0])).unwrap()["a"][1], "ß\n");
        assert_eq!(data(&events[1]), "no JSON: \"");
        let standard: serde_json::Value = serde_json::from_str(&data(&events[3])).unwrap();
        assert_eq!((&standard["key"], &standard["version"]), (&"größe".into(), &4.into()));

        // What is no attribute is told beside them, and what would be taken for one of these is not.
        let plain = |headers: &[(&str, &str)]| {
            let plain = headers.iter().filter(|(name, _)| !name.starts_with("ce_") && *name != "content-type");
            plain.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let plains: Vec<_> = headers.iter().map(|headers| plain(headers)).collect();
        let trace = format!("traceparent={TRACE}");
        assert_eq!(plains[..4], [vec![], vec![], vec![], vec!["Odd-Name=x".to_owned(), "source=mine".to_owned()]]);
        assert_eq!(plains[4], [trace], "whoever follows traces finds them where they are in all messages");
        for headers in &headers {
            let names: std::collections::BTreeSet<_> = headers.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), headers.len(), "no name comes twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_cloud_event_has_the_payload_as_it_is_to_the_last_digit() {
    let (_, seen) = published(&cloudevents(CloudEventsMode::Structured), super::Delivery::AtLeastOnce).await;
    let (value, headers) = texts(&seen[4]);
    assert_eq!(headers[0], ("content-type", "application/cloudevents+json; charset=utf-8"));
    assert!(value.unwrap().ends_with(r#""data":{"n": 12345678901234567890.10}}"#), "{value:?}");
}
