//! What is in a topic, read without any code of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::servers;

/// How long the broker may take to answer, and to hand out the next message.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic, and a client of no group.
pub struct Topic {
    consumer: BaseConsumer,
    name: String,
}

/// Event ids by key, as the messages are in the topic.
#[derive(Debug, Default)]
pub struct Found {
    pub messages: u64,
    /// Those that are not there for the first time.
    pub repeats: u64,
    /// Each event's id, once, with its key.
    pub events: BTreeMap<i64, String>,
}

/// One message.
#[derive(Debug)]
pub struct Published {
    pub key: String,
    /// The event's.
    pub id: i64,
    pub version: i64,
    pub epoch: i32,
}

impl Topic {
    pub fn new(name: &str) -> Self {
        Self::at(&servers::kafka(), name)
    }

    /// A topic of other brokers than the shared ones.
    pub fn at(brokers: &str, name: &str) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", servers::unique("reading"))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        Self { consumer, name: name.to_owned() }
    }

    /// Each partition's number and the offsets of its first message and behind its last; none while there is no such
    /// topic, or it is being made. Blocks.
    fn ends(&self) -> Vec<(i32, i64, i64)> {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), PATIENCE).unwrap();
        let topic = &metadata.topics()[0];
        let ends = topic.partitions().iter().map(|partition| {
            let ends = self.consumer.fetch_watermarks(&self.name, partition.id(), PATIENCE);
            ends.map(|(begin, end)| (partition.id(), begin, end))
        });
        ends.collect::<Result<_, _>>().unwrap_or_default()
    }

    /// How many messages there are; no transaction wrote to this topic, so offsets have no gaps. Blocks.
    pub fn count(&self) -> u64 {
        self.ends().iter().map(|(_, begin, end)| u64::try_from(end - begin).unwrap()).sum()
    }

    /// Reads all that is in the topic now and committed. Blocks.
    ///
    /// # Panics
    /// When the first occurrences of a key's events are not in the order of their ids: the order of the commits.
    pub fn read(&self) -> Found {
        let ends = self.ends();
        self.read_of(&ends)
    }

    /// The same of one partition.
    pub fn read_partition(&self, number: i32) -> Found {
        let mut ends = self.ends();
        ends.retain(|(partition, _, _)| *partition == number);
        self.read_of(&ends)
    }

    /// All that is in the topic now and committed, as it is: for histories in which ids are given out again. Blocks.
    pub fn read_all(&self) -> Vec<Published> {
        let mut all = Vec::new();
        self.each_of(&self.ends(), |message| {
            let number = |name| header(message, name).parse::<i64>().unwrap();
            let epoch = i32::try_from(number("epoch")).unwrap();
            all.push(Published { key: key(message), id: number("id"), version: number("version"), epoch });
        });
        all
    }

    fn read_of(&self, ends: &[(i32, i64, i64)]) -> Found {
        let (mut found, mut newest) = (Found::default(), BTreeMap::new());
        self.each_of(ends, |message| found.take(&mut newest, key(message), header(message, "id").parse().unwrap()));
        found
    }

    /// All that is in the topic now and committed, in the order of the offsets of each partition. Blocks.
    pub fn each(&self, take: impl FnMut(&BorrowedMessage<'_>)) {
        self.each_of(&self.ends(), take);
    }

    fn each_of(&self, ends: &[(i32, i64, i64)], mut take: impl FnMut(&BorrowedMessage<'_>)) {
        let mut list = TopicPartitionList::new();
        for (partition, begin, _) in ends {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*begin)).unwrap();
        }
        self.consumer.assign(&list).unwrap();
        let mut unread: BTreeSet<i32> =
            ends.iter().filter(|(_, begin, end)| begin < end).map(|(partition, _, _)| *partition).collect();
        let mut heard = Instant::now();
        while !unread.is_empty() {
            let Some(message) = self.consumer.poll(Duration::from_millis(100)) else {
                assert!(heard.elapsed() < PATIENCE, "no more comes; unread are {unread:?}");
                continue;
            };
            heard = Instant::now();
            match message {
                Ok(message) => take(&message),
                // The end of what is committed: behind the last message there may be marks of transactions.
                Err(KafkaError::PartitionEOF(number)) => drop(unread.remove(&number)),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Found {
    fn take(&mut self, newest: &mut BTreeMap<String, i64>, key: String, id: i64) {
        self.messages += 1;
        if let Some(known) = self.events.get(&id) {
            assert_eq!(*known, key, "event {id} has two keys");
            self.repeats += 1;
            return;
        }
        let newest = newest.entry(key.clone()).or_default();
        assert!(id > *newest, "of key {key}, event {id} came after {newest}");
        *newest = id;
        self.events.insert(id, key);
    }
}

fn key(message: &BorrowedMessage<'_>) -> String {
    String::from_utf8(message.key().unwrap().to_vec()).unwrap()
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let headers = message.headers().unwrap();
    let value = headers.iter().find(|header| header.key == name).unwrap().value.unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

/// The same check of a test on what was read: the check itself must be able to fail.
#[test]
#[should_panic(expected = "of key a, event 3 came after 4")]
fn the_order_of_first_occurrences_is_checked() {
    let (mut found, mut newest) = (Found::default(), BTreeMap::new());
    for id in [1, 2, 1, 2, 4, 2, 3] {
        found.take(&mut newest, "a".to_owned(), id);
    }
}
