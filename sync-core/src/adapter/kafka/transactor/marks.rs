//! The compacted topic in which positions are stored. Everything here blocks.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::adapter::kafka::client::{Asker, Reporter, ask};
use crate::adapter::kafka::config::KafkaConfig;
use crate::adapter::kafka::error::translate;
use crate::error::{Error, ErrorKind};
use crate::port::Mark;

/// All positions are in one partition: keys must not move when partitions are added.
pub(super) const MARKS_PARTITION: i32 = 0;

/// The newest positions, read first: of an active relay it is among them.
const TAIL: i64 = 1_000;
const PAUSE: Duration = Duration::from_millis(20);

/// Topic, key and value of a mark's message.
pub(super) fn record(topic: &str, id: &str, mark: &Mark) -> Result<(String, String, String), Error> {
    let value = serde_json::to_string(mark)
        .map_err(|error| Error::new(ErrorKind::Internal, "kafka: writing a position").with_source(error))?;
    Ok((topic.to_owned(), id.to_owned(), value))
}

/// The newest committed mark with this key.
pub(super) fn newest(
    config: &KafkaConfig,
    topic: &str,
    id: &str,
    patience: Duration,
    asker: &Asker<'_>,
) -> Result<Option<Mark>, Error> {
    let deadline = Instant::now() + patience;
    let reader = |isolation: &str| -> Result<BaseConsumer<Reporter>, Error> {
        let mut client = config.client()?;
        client.set("isolation.level", isolation).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        client.set("fetch.wait.max.ms", "10");
        // The client insists on a group to assign partitions; nothing is ever committed to it.
        client.set("group.id", id);
        let made = client.create_with_context(Reporter::default());
        made.map_err(|error| translate("kafka: cannot make a client", error))
    };
    let ends = |client: &BaseConsumer<Reporter>| {
        ask(client, &config.brokers, deadline, |client, slice| client.fetch_watermarks(topic, MARKS_PARTITION, slice))
    };
    // What was written by now must be judged, not skipped: an open transaction of another name hides what is behind it
    // from readers of what is committed.
    let (_, end) = ends(&reader("read_uncommitted")?)?;
    let committed = reader("read_committed")?;
    let begin = loop {
        let (begin, stable) = ends(&committed)?;
        if stable >= end {
            break begin;
        }
        if Instant::now() >= deadline || asker.is_gone() {
            let what = format!(
                "kafka: a transaction in topic {topic:?} does not end, so the position behind it cannot be read; the \
                 brokers end it after its transaction.timeout.ms"
            );
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        sleep(PAUSE);
    };
    let tail = begin.max(end - TAIL);
    let found = last_of(&committed, topic, id, tail, deadline, asker)?;
    let found = match found {
        None if tail > begin => last_of(&committed, topic, id, begin, deadline, asker)?,
        found => found,
    };
    found.map(|value| parse(topic, id, &value)).transpose()
}

fn parse(topic: &str, id: &str, value: &[u8]) -> Result<Mark, Error> {
    serde_json::from_slice(value).map_err(|error| {
        let what = format!(
            "kafka: the record with key {id:?} in topic {topic:?} is no position; delete it with a tombstone, and the \
             relay goes on from the position in the database"
        );
        Error::new(ErrorKind::Configuration, what).with_source(error)
    })
}

/// The last value with this key from `from` to the end of what is committed; a tombstone takes it back.
fn last_of(
    consumer: &BaseConsumer<Reporter>,
    topic: &str,
    id: &str,
    from: i64,
    deadline: Instant,
    asker: &Asker<'_>,
) -> Result<Option<Vec<u8>>, Error> {
    let reading = |error| translate(format!("kafka: reading topic {topic:?}"), error);
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, MARKS_PARTITION, Offset::Offset(from)).map_err(reading)?;
    consumer.assign(&place).map_err(reading)?;
    let mut last = None;
    loop {
        let failure = match consumer.poll(PAUSE) {
            Some(Ok(message)) => {
                if message.key() == Some(id.as_bytes()) {
                    last = message.payload().map(<[u8]>::to_vec);
                }
                continue;
            }
            Some(Err(KafkaError::PartitionEOF(MARKS_PARTITION))) => return Ok(last),
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                return Err(reading(error));
            }
            // Passing, or about the group, which is not used.
            Some(Err(error)) => error,
            None => KafkaError::NoMessageReceived,
        };
        if Instant::now() >= deadline || asker.is_gone() {
            return Err(reading(failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_as_it_was_written_and_anything_else_is_refused_by_name() {
        let mark = Mark { window: 7, token: "t".into(), last: None, term: 3, epoch: 0, history: "h".into() };
        let (topic, key, value) = record("positions", "sync/a", &mark).unwrap();
        assert_eq!((topic.as_str(), key.as_str()), ("positions", "sync/a"));
        assert_eq!(parse("positions", "sync/a", value.as_bytes()).unwrap(), mark);
        let of_old = br#"{"window":7,"token":"t","last":null,"term":3,"epoch":0}"#;
        assert_eq!(parse("positions", "sync/a", of_old).unwrap(), Mark { history: String::new(), ..mark });
        let error = parse("positions", "sync/a", b"nonsense").unwrap_err();
        assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("sync/a"), "{error}");
    }
}
