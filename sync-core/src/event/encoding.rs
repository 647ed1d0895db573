//! How events are written into messages. The key is the event's in each of them, and so is the place in the order.

/// What a message holds beside its key. The indexer reads the key alone, so it works with each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// The value `{"key","action","version","timestamp"}`, or the payload where there is one. The headers say the same, with
    /// the event's `id`, by which a consumer tells repeats apart without parsing a value, and the `epoch`.
    #[default]
    Standard,
    /// What Debezium's outbox event router makes of a row: the payload; the header `id` (the event's own header of that name,
    /// which a route takes from the row) and the event's further headers.
    Debezium(DebeziumValue),
    /// `CloudEvents` 1.0 as its binding to Kafka has them. What the standard headers say are the attributes `id` (epoch and id
    /// together, unless the event has a header of that name), `action`, `version` and `epoch`; `type` is the event's header of
    /// that name, or else the topic.
    CloudEvents {
        /// Where the attributes are.
        mode: CloudEventsMode,
        /// The attribute `source`, a URI reference. With the id it tells any two events apart, so no two databases whose events
        /// meet anywhere may have the same one.
        source: String,
    },
}

/// How the payload is the value, as Debezium's converters write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DebeziumValue {
    /// As it is, and no value where there is none: what `StringConverter` sends, and as far as it can `JsonConverter` where
    /// `table.expand.json.payload` is set.
    #[default]
    Json,
    /// As one string of JSON, and `null` where there is none: what `JsonConverter` sends where it is not set.
    JsonString,
}

/// Where a message has the attributes of a `CloudEvent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudEventsMode {
    /// In its headers; the value is the data.
    Binary,
    /// In its value, beside the data.
    Structured,
}
