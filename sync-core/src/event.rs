//! What travels: a committed change in the outbox, and the message it becomes.

mod cloudevents;
mod debezium;
mod encoding;
mod standard;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

pub use self::encoding::{CloudEventsMode, DebeziumValue, Encoding};
pub(crate) use self::standard::{written_at, written_at_attribute};

/// What happened to the entity. Advice only: the indexer reads the current row and decides by that. Adapters handle both, so there
/// will be no other.
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
    /// Text to send as the message's value instead of the standard one: JSON, unless a route took it from a column of text.
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
    /// Text; `None` is a value of its own, which a compacted topic takes for a deletion.
    pub value: Option<String>,
    /// In this order; names may repeat.
    pub headers: Vec<Header>,
}

/// Name and value. Most names, and some values, are the same for all messages.
pub type Header = (Cow<'static, str>, Cow<'static, str>);

impl Event {
    /// The message this event becomes in the history `epoch`.
    #[must_use]
    pub fn into_message(self, epoch: i32, encoding: &Encoding) -> Outgoing {
        match encoding {
            Encoding::Standard => standard::message(self, epoch),
            Encoding::Debezium(value) => debezium::message(self, *value),
            Encoding::CloudEvents { mode, source } => cloudevents::message(self, epoch, *mode, source),
        }
    }

    /// The event's own header of this name; an empty one is none.
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}
