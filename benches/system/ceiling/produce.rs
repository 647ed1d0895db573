//! Writing: messages of the same size and headers, idempotent and acknowledged by all, as fast as librdkafka takes them.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use crate::Outcome;
use crate::counted::Counted;
use crate::figures::Figures;

/// Writes messages to a topic.
#[derive(Debug, Args)]
pub(crate) struct Produce {
    /// The brokers.
    #[arg(long)]
    brokers: String,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// How many messages.
    #[arg(long)]
    events: u64,
    /// Bytes of one message's value.
    #[arg(long)]
    value: usize,
}

impl Produce {
    pub(super) fn run(&self) -> Outcome<Figures> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("enable.idempotence", "true").set("acks", "all");
        client.set("partitioner", "murmur2_random").set("message.timeout.ms", "0").set("compression.type", "lz4");
        let (producer, counted) = Counted::producer(&client)?;
        // Connected, and the topic known, before the clock starts: a relay is up when its backlog comes.
        producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(10))?;
        let values: Vec<String> = (0..1_000).map(|place| value(place, self.value)).collect();
        let began = Instant::now();
        for id in 0..self.events {
            let (key, number) = (format!("job-{id:012}"), id.to_string());
            let header = |key, value| Header { key, value: Some(value) };
            let headers = OwnedHeaders::new_with_capacity(4)
                .insert(header("id", number.as_str()))
                .insert(header("action", "INDEX"))
                .insert(header("version", number.as_str()))
                .insert(header("epoch", "0"));
            let value = &values[usize::try_from(id)? % values.len()];
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(value).headers(headers);
            while let Err((error, back)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                record = back;
                thread::sleep(Duration::from_micros(200));
            }
        }
        while counted.stored()? < self.events {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(Figures::rate(self.events, began.elapsed().as_secs_f64()))
    }
}

/// JSON of that size which compresses about as well as the events' payloads do.
fn value(place: usize, bytes: usize) -> String {
    let mut value = format!(r#"{{"type": "updated", "title": "Job number {place}", "description": ""#);
    while value.len() + 2 < bytes {
        value.push(char::from(b'a' + (rand::random::<u8>() % 26)));
    }
    value + "\"}"
}
