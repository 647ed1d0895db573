//! librdkafka's properties: what is always set, and what may not be.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::wrong;
use crate::error::Error;

/// What every client sets; `kafka.properties` may say otherwise.
pub(super) const COMMON: &[(&str, &str)] = &[
    ("client.id", "sync"),
    ("socket.keepalive.enable", "true"),
    ("socket.connection.setup.timeout.ms", "10000"),
    // After an outage the first attempt to come back must not be ten seconds away.
    ("reconnect.backoff.max.ms", "1000"),
    // New partitions are found by looking; five minutes would leave their messages lying for as long.
    ("topic.metadata.refresh.interval.ms", "60000"),
    // Topics are created by us with what is configured, never by a broker on the side.
    ("allow.auto.create.topics", "false"),
];

/// What may not be set, and what says it instead.
const REFUSED: &[(&str, &str)] = &[
    ("acks", ACKNOWLEDGED),
    ("request.required.acks", ACKNOWLEDGED),
    ("enable.idempotence", ORDERED),
    ("enable.gapless.guarantee", ORDERED),
    ("queuing.strategy", ORDERED),
    ("retries", ORDERED),
    ("message.send.max.retries", ORDERED),
    ("message.timeout.ms", OUTLASTED),
    ("delivery.timeout.ms", OUTLASTED),
    ("partitioner", "keys must be where Java's clients look for them"),
    ("transactional.id", "it is made from the subscription"),
    ("delivery.report.only.error", REPORTED),
    ("enabled_events", REPORTED),
    ("log.queue", REPORTED),
    ("batch.size", "it follows from the topics' max.message.bytes"),
    ("message.max.bytes", "each topic's max.message.bytes decides"),
    ("queue.buffering.max.kbytes", "it follows from the topics' max.message.bytes"),
    ("enable.auto.commit", COMMITTED),
    ("auto.commit.enable", COMMITTED),
    ("enable.auto.offset.store", COMMITTED),
    ("auto.offset.reset", "a group without offsets must begin at the beginning"),
    ("isolation.level", "messages of aborted transactions must not be read"),
    ("enable.partition.eof", "nothing here waits for the end of a partition"),
    ("group.protocol", SHARED),
    ("group.remote.assignor", SHARED),
    ("partition.assignment.strategy", SHARED),
    ("group.id", "set the group of the indexer"),
    ("group.instance.id", "set kafka.group_instance_id"),
    ("allow.auto.create.topics", "set kafka.topics.create"),
    ("bootstrap.servers", BROKERS),
    ("metadata.broker.list", BROKERS),
    ("security.protocol", "set kafka.security"),
    ("ssl.ca.location", "set kafka.ca_file"),
    ("ssl.certificate.location", "set kafka.certificate_file"),
    ("ssl.key.location", "set kafka.key_file"),
    ("sasl.mechanism", SASL),
    ("sasl.mechanisms", SASL),
    ("sasl.username", SASL),
    ("sasl.password", SASL),
];

const ACKNOWLEDGED: &str = "a message counts as stored only when all in-sync replicas have it";
const ORDERED: &str = "the order per key rests on it";
const OUTLASTED: &str = "an outage of any length must delay messages, never drop them";
const REPORTED: &str = "deliveries are counted by it";
const COMMITTED: &str = "offsets are committed when the index has the change";
const SHARED: &str = "how members share the partitions is fixed";
const BROKERS: &str = "set kafka.brokers";
const SASL: &str = "set kafka.sasl";

/// Refuses what is fixed, unknown or malformed.
pub(super) fn validate(properties: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in properties {
        if let Some((_, why)) = REFUSED.iter().find(|(fixed, _)| fixed == name) {
            return Err(wrong(format!("kafka.properties.{name}: cannot be set: {why}; remove it")));
        }
        let mut alone = ClientConfig::new();
        alone.set(name, value);
        if let Err(error) = alone.create_native_config() {
            // The description is librdkafka's; the value itself is left out, it may be a secret.
            let said = if let KafkaError::ClientConfig(_, description, _, _) = error {
                description
            } else {
                error.to_string()
            };
            return Err(wrong(format!("kafka.properties.{name}: {said}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(name: &str, value: &str) -> String {
        validate(&BTreeMap::from([(name.to_owned(), value.to_owned())])).unwrap_err().to_string()
    }

    #[test]
    fn what_the_guarantees_rest_on_cannot_be_set() {
        for (name, _) in REFUSED {
            let said = said_of(name, "1");
            assert!(said.starts_with(&format!("kafka.properties.{name}: cannot be set")), "{said}");
        }
    }

    #[test]
    fn an_unknown_property_and_a_malformed_value_are_named() {
        let unknown = said_of("no.such.thing", "1");
        assert!(unknown.starts_with("kafka.properties.no.such.thing: "), "{unknown}");
        let malformed = said_of("linger.ms", "soon");
        assert!(malformed.starts_with("kafka.properties.linger.ms: "), "{malformed}");
    }

    #[test]
    fn other_properties_pass() {
        validate(&BTreeMap::from([("linger.ms".to_owned(), "0".to_owned())])).unwrap();
    }

    /// A misspelt name in the table would refuse nothing.
    #[test]
    fn every_refused_property_is_one_librdkafka_knows() {
        for (name, _) in REFUSED {
            let mut alone = ClientConfig::new();
            alone.set(*name, "");
            let said = match alone.create_native_config() {
                Err(KafkaError::ClientConfig(_, said, _, _)) => said,
                Err(other) => other.to_string(),
                Ok(_) => continue,
            };
            assert!(!said.contains("No such configuration property"), "{said}");
        }
    }
}
