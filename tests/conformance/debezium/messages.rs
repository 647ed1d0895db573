//! Messages as they lie in a topic, whoever wrote them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::servers;

/// How long messages may take to come.
const BOUND: Duration = Duration::from_secs(120);

pub(super) const PARTITIONS: i32 = 3;

/// One message, with what is absent told from what is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Without the prefix that says who wrote it.
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: BTreeMap<String, Option<String>>,
}

impl Message {
    /// The row's, as both write it.
    pub(super) fn id(&self) -> &str {
        self.headers["id"].as_deref().unwrap()
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_deref().map(|value| std::str::from_utf8(value).unwrap())
    }
}

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers::kafka()).set("group.id", servers::unique("reader"));
    client.set("enable.auto.commit", "false");
    client
}

/// Topics that are there before anybody writes, so that all have the same number of partitions.
pub(super) async fn make_topics(names: &[String]) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let topics: Vec<_> = names.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))).collect();
    for made in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

/// Everything in topics that begin with `prefix`, in the order of each partition, once it is enough. Blocks.
pub(super) fn read(prefix: &str, topics: &[String], is_enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
    let consumer: BaseConsumer = client().create().unwrap();
    let mut places = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..PARTITIONS {
            places.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&places).unwrap();
    let (mut messages, began) = (Vec::new(), Instant::now());
    let mut heard = Instant::now();
    // A little longer than needed: what comes too often is to be seen.
    while heard.elapsed() < Duration::from_secs(2) || !is_enough(&messages) {
        assert!(began.elapsed() < BOUND, "{prefix}: no more than {} came", messages.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        heard = Instant::now();
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            let value = header.value.map(|value| String::from_utf8(value.to_vec()).unwrap());
            (header.key.to_owned(), value)
        };
        messages.push(Message {
            topic: message.topic().strip_prefix(prefix).unwrap().to_owned(),
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().into_iter().flat_map(Headers::iter).map(header).collect(),
        });
    }
    messages
}
