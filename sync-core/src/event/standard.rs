//! The standard message, and when its event was written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Action, Event, Outgoing};

/// What an event's own headers cannot be called.
const OWN_HEADERS: [&str; 4] = ["id", "action", "version", "epoch"];

/// The standard value of a message.
#[derive(Serialize)]
struct Value<'a> {
    key: &'a str,
    action: Action,
    version: i64,
    timestamp: Timestamp,
}

/// The standard value of the message of an event without a payload.
pub(super) fn value(event: &Event) -> String {
    let Event { key, action, version, created_at, .. } = event;
    let value = Value { key, action: *action, version: *version, timestamp: *created_at };
    // Serialising strings and numbers into memory has no way to fail.
    serde_json::to_string(&value).unwrap_or_default()
}

/// The standard message of an event.
pub(super) fn message(mut event: Event, epoch: i32) -> Outgoing {
    let value = event.payload.take().unwrap_or_else(|| value(&event));
    let mut headers = Vec::with_capacity(4 + event.headers.len());
    headers.push(("id".into(), event.id.to_string().into()));
    headers.push(("action".into(), event.action.as_str().into()));
    headers.push(("version".into(), event.version.to_string().into()));
    headers.push(("epoch".into(), epoch.to_string().into()));
    // Consumers tell repeats apart by `id` and would read the last one of that name.
    let others = event.headers.into_iter().filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str()));
    headers.extend(others.map(|(name, value)| (name.into(), value.into())));
    Outgoing { topic: event.topic, key: event.key, value: Some(value), headers }
}

/// When the event of a message with this value was written, as the standard value says, or the attribute of a structured
/// `CloudEvent`; of a payload nobody knows, and what is no time of these days is none.
pub(crate) fn written_at(value: &[u8], now: Timestamp) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Value {
        timestamp: Option<Timestamp>,
        specversion: Option<serde::de::IgnoredAny>,
        time: Option<Timestamp>,
    }
    // A standard value holds a key of 512 bytes, each escaped, and little else.
    let value = Some(value).filter(|value| value.len() <= 4_096)?;
    let value = serde_json::from_slice::<Value>(value).ok()?;
    let at = if value.specversion.is_some() { value.time } else { value.timestamp };
    at.filter(|at| is_near(*at, now))
}

/// When the event of a message was written, as this attribute of a binary `CloudEvent` says.
pub(crate) fn written_at_attribute(text: &[u8], now: Timestamp) -> Option<Timestamp> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|at| is_near(*at, now))
}

/// Anyone may write to a topic.
fn is_near(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).as_hours().abs() <= 24 * 366
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: 7,
            topic: "job-es-sync".into(),
            key: "a\"b".into(),
            version: 3,
            action: Action::Delete,
            payload: None,
            headers: vec![("traceparent".into(), "00-1-2-01".into()), ("id".into(), "mine".into())],
            created_at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_standard_value_says_key_action_version_and_time() {
        let message = message(event(), 2);
        assert_eq!(
            message.value.as_deref(),
            Some(r#"{"key":"a\"b","action":"DELETE","version":3,"timestamp":"2026-01-02T03:04:05.678901Z"}"#)
        );
        let headers: Vec<_> = message.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            headers,
            [("id", "7"), ("action", "DELETE"), ("version", "3"), ("epoch", "2"), ("traceparent", "00-1-2-01")]
        );
    }

    #[test]
    fn a_payload_is_sent_as_it_is() {
        let message = message(Event { payload: Some("{\"a\": 1}".into()), ..event() }, 0);
        assert_eq!(message.value.as_deref(), Some("{\"a\": 1}"));
    }

    #[test]
    fn when_an_event_was_written_is_read_of_standard_values_and_structured_cloud_events_alone() {
        let now = Timestamp::now();
        let standard = value(&Event { created_at: now, ..event() });
        assert_eq!(written_at(standard.as_bytes(), now), Some(now));
        let structured =
            format!(r#"{{"specversion":"1.0","time":"{now}","data":{{"timestamp":"{}"}}}}"#, Timestamp::MIN);
        assert_eq!(written_at(structured.as_bytes(), now), Some(now));
        for unknown in
            [format!(r#"{{"time":"{now}"}}"#), r#"{"timestamp":"1970-01-01T00:00:00Z"}"#.to_owned(), "{}".to_owned()]
        {
            assert_eq!(written_at(unknown.as_bytes(), now), None, "{unknown}");
        }
    }
}
