//! The Kafka adapter and the rest of the world: what others read, what brokers refuse, and what happens without them.

mod first;
mod group;
mod java;
mod limits;
mod outage;
mod security;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use sync_core::Outgoing;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::port::{Incoming, Polled, Publisher, Subscriber};

use crate::support::{broker, servers};

/// Whole stories of brokers that freeze, die and start again take thirty seconds, and three times that beside others.
const BOUND: Duration = Duration::from_secs(300);

fn config() -> KafkaConfig {
    at(&servers::kafka())
}

fn at(brokers: &str) -> KafkaConfig {
    let topics = TopicConfig::default().partitions(3);
    KafkaConfig::new(brokers).topics(topics)
}

fn message(topic: &str, key: &str, value: impl ToString) -> Outgoing {
    let headers = vec![("id".into(), "7".into()), ("größe".into(), "ß".into())];
    Outgoing { topic: topic.to_owned(), key: key.to_owned(), value: Some(value.to_string()), headers }
}

async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, coming).await.expect("within five minutes")
}

async fn publish(publisher: &KafkaPublisher, batch: Vec<Outgoing>) {
    soon(async { publisher.publish(batch).await.unwrap().await.unwrap() }).await;
}

/// Reads until that many messages have come.
async fn read(config: &KafkaConfig, topic: &str, count: usize) -> Vec<Incoming> {
    let subscriber = KafkaSubscriber::new(config, &servers::unique("reader"), topic, None).unwrap();
    let mut consumer = soon(subscriber.subscribe()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < count {
        match soon(consumer.poll()).await {
            Ok(Polled::Messages(messages)) => seen.extend(messages),
            Ok(Polled::Assigned(_) | Polled::Revoked(_)) => {}
            Err(error) => assert_eq!(error.remedy(), sync_core::Remedy::Retry, "{error}"),
        }
    }
    soon(consumer.close()).await.unwrap();
    seen
}

/// The values of each key, in the order they were read.
fn by_key(messages: &[Incoming]) -> BTreeMap<Bytes, Vec<usize>> {
    let mut values = BTreeMap::<_, Vec<_>>::new();
    for message in messages {
        let value = std::str::from_utf8(message.value.as_deref().unwrap()).unwrap().parse().unwrap();
        values.entry(message.key.clone().unwrap()).or_default().push(value);
    }
    values
}

/// The first time each value came.
fn first_occurrences(values: &[usize]) -> Vec<usize> {
    let mut seen = std::collections::BTreeSet::new();
    values.iter().copied().filter(|value| seen.insert(*value)).collect()
}

fn kcat() -> Command {
    let program = std::env::var_os("SYNC_STACK_KCAT").unwrap_or_else(|| "kcat".into());
    let mut kcat = Command::new(program);
    kcat.args(["-b", &servers::kafka()]);
    kcat
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_reads_key_headers_and_value_as_they_were_written() {
    let topic = servers::unique("kcat");
    let publisher = KafkaPublisher::new(&config()).unwrap();
    let values = [r#"{"key":"größe \" 1","action":"INDEX"}"#, ""];
    publish(&publisher, values.map(|value| message(&topic, "größe \" 1", value)).to_vec()).await;

    let output = kcat().args(["-C", "-t", &topic, "-o", "beginning", "-e", "-J", "-q"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let read: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), 2);
    for (read, value) in read.iter().zip(values) {
        assert_eq!(read["key"], "größe \" 1");
        assert_eq!(read["payload"], value);
        assert_eq!(read["headers"], serde_json::json!(["id", "7", "größe", "ß"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_not_text_does_not_stop_a_consumer() {
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;

    let topic = servers::unique("header");
    let publisher = KafkaPublisher::new(&config()).unwrap();
    publish(&publisher, vec![message(&topic, "job", 1)]).await;
    let header = std::ffi::OsStr::from_bytes(b"na\xffme=value");
    let mut kcat = kcat();
    kcat.args(["-P", "-t", &topic, "-H", "before=1", "-H"]).arg(header).args(["-H", "after=\u{df}"]);
    let mut kcat = kcat.stdin(std::process::Stdio::piped()).spawn().unwrap();
    kcat.stdin.take().unwrap().write_all(b"from outside").unwrap();
    assert!(kcat.wait().unwrap().success());

    let messages = read(&config(), &topic, 2).await;
    let strange = messages.iter().find(|message| message.key.is_none()).unwrap();
    assert_eq!(strange.value.as_deref(), Some(&b"from outside"[..]));
    let expected = [("before".to_owned(), Bytes::from("1")), ("after".to_owned(), Bytes::from("\u{df}"))];
    assert_eq!(strange.headers, expected);
}
