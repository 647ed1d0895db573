//! The message that Debezium's outbox event router would make of the row an event came from.

use super::{DebeziumValue, Event, Outgoing};

/// The header that tells repeats apart.
const ID: &str = "id";

/// The message of an event. Its id comes first, as there, then its further headers by their names.
pub(super) fn message(event: Event, value: DebeziumValue) -> Outgoing {
    let mut headers = Vec::with_capacity(1 + event.headers.len());
    // One that no route made has no row's.
    let id = event.header(ID).map_or_else(|| event.id.to_string(), str::to_owned);
    headers.push((ID.into(), id.into()));
    let Event { topic, key, payload, headers: own, .. } = event;
    let others = own.into_iter().filter(|(name, _)| name != ID);
    headers.extend(others.map(|(name, value)| (name.into(), value.into())));
    let value = match value {
        DebeziumValue::Json => payload,
        // Writing a string into memory has no way to fail.
        DebeziumValue::JsonString => Some(serde_json::to_string(&payload).unwrap_or_default()),
    };
    Outgoing { topic, key, value, headers }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::event::{Action, Header};

    fn event(payload: Option<&str>, headers: &[(&str, &str)]) -> Event {
        Event {
            id: 7,
            topic: "outbox.event.order".into(),
            key: "o-1".into(),
            version: 3,
            action: Action::Index,
            payload: payload.map(str::to_owned),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn texts(headers: &[Header]) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    #[test]
    fn a_row_is_its_payload_its_key_and_its_headers_and_nothing_of_ours() {
        let own = [("eventType", "created"), ("id", "0192"), ("version", "1")];
        let message = message(event(Some("{\"a\":  1}"), &own), DebeziumValue::Json);
        assert_eq!((message.topic.as_str(), message.key.as_str()), ("outbox.event.order", "o-1"));
        assert_eq!(message.value.as_deref(), Some("{\"a\":  1}"));
        assert_eq!(texts(&message.headers), [("id", "0192"), ("eventType", "created"), ("version", "1")]);
    }

    #[test]
    fn an_event_without_a_row_has_its_own_id_and_one_without_a_payload_no_value() {
        for no_id in [&[][..], &[("id", "")]] {
            let message = message(event(None, no_id), DebeziumValue::Json);
            assert_eq!((message.value, texts(&message.headers)), (None, vec![("id", "7")]));
        }
    }

    #[test]
    fn as_one_string_the_payload_is_quoted_with_all_that_has_to_be_escaped_and_none_is_null() {
        let message = message(event(Some("{\"größe\": \"a\\nb\"}"), &[]), DebeziumValue::JsonString);
        assert_eq!(message.value.as_deref(), Some(r#""{\"größe\": \"a\\nb\"}""#));
        let none = super::message(event(None, &[]), DebeziumValue::JsonString);
        assert_eq!(none.value.as_deref(), Some("null"), "as JsonConverter writes nothing");
    }
}
