//! What travels: a committed change in the outbox, and the message it becomes.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened to the entity. Advice only: the indexer reads the current row and decides by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// The entity exists, or existed when the event was written.
    Index,
    /// The entity was deleted.
    Delete,
}

impl Action {
    /// The word in the outbox and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "INDEX",
            Self::Delete => "DELETE",
        }
    }

    /// Reads the word back; `None` for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "INDEX" => Some(Self::Index),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// One committed event, as the outbox holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique in one outbox; grows per key in the order the transactions committed.
    pub id: i64,
    /// The topic it goes to.
    pub topic: String,
    /// The entity's key: the message key and the document id.
    pub key: String,
    /// The key's logical clock after this change, `0` to `2^48 − 1`.
    pub version: i64,
    /// What happened.
    pub action: Action,
    /// JSON text to send as the message's value instead of the standard one.
    pub payload: Option<String>,
    /// Further headers for the message (`traceparent`, …).
    pub headers: Vec<(String, String)>,
    /// When the event was written, on the database's clock.
    pub created_at: Timestamp,
}

/// A message on its way to a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where it goes.
    pub topic: String,
    /// Decides the partition, and so the order.
    pub key: String,
    /// JSON text.
    pub value: String,
    /// In this order; names may repeat.
    pub headers: Vec<Header>,
}

/// Name and value. Most names, and some values, are the same for all messages.
pub type Header = (Cow<'static, str>, Cow<'static, str>);

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

/// When the event of a message with this value was written, as the standard value says; of a payload nobody knows, and what is
/// no time of these days is none.
pub(crate) fn written_at(value: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Value {
        timestamp: Timestamp,
    }
    // A standard value holds a key of 512 bytes, each escaped, and little else.
    let value = Some(value).filter(|value| value.len() <= 4_096)?;
    let at = serde_json::from_slice::<Value>(value).ok()?.timestamp;
    let is_of_these_days = Timestamp::now().duration_since(at).as_hours().abs() <= 24 * 366;
    is_of_these_days.then_some(at)
}

impl Event {
    /// The message this event becomes in the history `epoch`.
    ///
    /// The value is `{"key","action","version","timestamp"}`, or the payload where there is one; the headers say the
    /// same and the event's `id`, so that a consumer can tell repeats apart without parsing a value.
    #[must_use]
    pub fn into_message(self, epoch: i32) -> Outgoing {
        let value = self.payload.unwrap_or_else(|| {
            let value =
                Value { key: &self.key, action: self.action, version: self.version, timestamp: self.created_at };
            // Serialising strings and numbers into memory has no way to fail.
            serde_json::to_string(&value).unwrap_or_default()
        });
        let mut headers = Vec::with_capacity(4 + self.headers.len());
        headers.push(("id".into(), self.id.to_string().into()));
        headers.push(("action".into(), self.action.as_str().into()));
        headers.push(("version".into(), self.version.to_string().into()));
        headers.push(("epoch".into(), epoch.to_string().into()));
        // Consumers tell repeats apart by `id` and would read the last one of that name.
        let others = self.headers.into_iter().filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str()));
        headers.extend(others.map(|(name, value)| (name.into(), value.into())));
        Outgoing { topic: self.topic, key: self.key, value, headers }
    }
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
        let message = event().into_message(2);
        assert_eq!(
            message.value,
            r#"{"key":"a\"b","action":"DELETE","version":3,"timestamp":"2026-01-02T03:04:05.678901Z"}"#
        );
        let headers: Vec<_> = message.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            headers,
            [("id", "7"), ("action", "DELETE"), ("version", "3"), ("epoch", "2"), ("traceparent", "00-1-2-01")]
        );
    }

    #[test]
    fn a_payload_is_sent_as_it_is() {
        let message = Event { payload: Some("{\"a\": 1}".into()), ..event() }.into_message(0);
        assert_eq!(message.value, "{\"a\": 1}");
    }
}
