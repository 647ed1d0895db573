//! What is there when all is quiet, told to the oracle: events, messages, positions, rows, documents and dead letters.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use sync_core::adapter::postgres::PostgresDeadLetters;
use sync_core::port::{
    Current, DeadLetters, Incoming, KeptLetter, LetterSelection, Origin, Partition, Projection, Sink, Stored,
};
use sync_core::testkit::oracle::{Delivery, Oracle, Violation};
use sync_core::{ErrorKind, Version};
use tokio::task::spawn_blocking;
use tokio_postgres::Client;

use super::pair::{Committed, EVENTS};
use super::plan::Mode;
use super::site::{Site, Stream};
use crate::chaos::topic::Topic;
use crate::support::postgres::database;

/// Documents an index has at most: every one is looked at.
const DOCUMENTS: usize = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Evidence {
    pub events: u64,
    pub messages: u64,
    pub letters: u64,
    /// Events that were committed and are lost, with the server that held them.
    pub lost: u64,
    pub violations: Vec<Violation>,
}

/// Messages that were put into topics on purpose and can never be applied.
pub type Junk = Vec<Origin>;

impl Evidence {
    /// Of a bus and indexes at which nothing is behind.
    pub async fn of(site: &Site<'_>, junk: &Junk) -> Self {
        let mut found = Self::default();
        let mut oracle = found.of_the_bus(site, junk).await;
        let client = site.client().await;
        let mut rows = BTreeMap::new();
        for stream in &site.streams {
            let current = rows_of(&client, stream).await;
            for row in &current {
                oracle.row(&stream.topic, row);
            }
            rows.insert(stream.topic.clone(), current);
            documents_of(site, stream, &mut oracle).await;
        }
        for KeptLetter { letter, .. } in letters_of(site).await {
            found.letters += 1;
            let key = letter.key.as_deref();
            // What was poisoned and is no longer must be in the index: its letter is a note, and excuses nothing.
            let is_note = key.is_some_and(|key| {
                letter.error_kind == ErrorKind::Refused.name()
                    && key.starts_with("poison-")
                    && !is_poisoned(&rows[&letter.origin.topic], key)
            });
            if !is_note {
                oracle.letter(letter.origin.clone(), key);
            }
        }
        for (topic, rows) in &rows {
            for row in rows.iter().filter(|row| row.key.starts_with("poison-") && is_poisoned(rows, &row.key)) {
                oracle.may_be_parked(topic, &row.key);
            }
        }
        found.violations = oracle.violations();
        found
    }

    /// Only of events, messages and positions: nothing is said of indexes.
    pub async fn only_of_the_bus(site: &Site<'_>) -> Self {
        let mut found = Self::default();
        let oracle = found.of_the_bus(site, &Junk::default()).await;
        found.violations = oracle.violations();
        found
    }

    async fn of_the_bus(&mut self, site: &Site<'_>, junk: &Junk) -> Oracle {
        let mut oracle = Oracle::new(match site.mode {
            Mode::AtLeastOnce => Delivery::AtLeastOnce,
            Mode::ExactlyOnce => Delivery::ExactlyOnce,
            Mode::Direct => Delivery::Unseen,
        });
        let (client, mut lost) = (site.client().await, site.lost().await);
        // Of a history that is not known a new one may have to be told apart; more than that excuses repeats.
        let histories = client.query_one("select count(*) from outbox.history", &[]).await.unwrap().get::<_, i64>(0);
        assert!(histories <= 1 + 2 * lost.promotions(), "{histories} histories after {} promotions", lost.promotions());
        // Per key, ids are in the order of the commits.
        for row in client.query(EVENTS, &[]).await.unwrap() {
            let event = Committed { topic: row.get(0), key: row.get(1), id: row.get(2), created_at: row.get(3) };
            oracle.committed(&event.topic, &event.key, event.id);
            lost.has_come_back(&event);
            self.events += 1;
        }
        self.lost = lost.events();
        for row in client.query("select subscription, done, last from positions order by n", &[]).await.unwrap() {
            let done: i64 = row.get(1);
            oracle.recorded(row.get(0), (u64::try_from(done).unwrap(), row.get(2)));
        }
        if site.mode.has_broker() {
            for stream in &site.streams {
                let messages = messages_of(&site.servers.kafka, &stream.topic).await;
                self.messages += messages.len() as u64;
                // What was published of commits that are lost was right when it was published. So was what was parked of
                // what is no event at all.
                let is_lost = |message: &&Incoming| {
                    let origin = origin(message);
                    lost.has_published(message) || (junk.contains(&origin) && lost.has_parked(&origin))
                };
                let kept = messages.iter().filter(|message| !is_lost(message));
                kept.for_each(|message| oracle.seen(message));
            }
        }
        let parked = junk.iter().filter(|origin| !lost.has_parked(origin));
        parked.for_each(|origin| oracle.poison(origin.clone()));
        oracle
    }
}

fn origin(message: &Incoming) -> Origin {
    let Partition { topic, number } = &message.partition;
    Origin { topic: topic.to_string(), partition: *number, offset: message.offset }
}

/// What a consumer that reads what is committed gets.
async fn messages_of(brokers: &str, name: &str) -> Vec<Incoming> {
    let (topic, name) = (Topic::at(brokers, name), name.into());
    let read = move || {
        let mut messages = Vec::new();
        topic.each(|message| messages.push(incoming(&name, message)));
        messages
    };
    spawn_blocking(read).await.unwrap()
}

fn incoming(topic: &std::sync::Arc<str>, message: &BorrowedMessage<'_>) -> Incoming {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers =
        headers.map(|header| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())));
    Incoming {
        partition: Partition { topic: topic.clone(), number: message.partition() },
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.collect(),
    }
}

/// The state of every key there ever was.
async fn rows_of(client: &Client, stream: &Stream) -> Vec<Current> {
    let sql = "select key from outbox.versions where topic = $1";
    let keys: Vec<String> = client.query(sql, &[&stream.topic]).await.unwrap().iter().map(|row| row.get(0)).collect();
    // Every row there is has a key that is known.
    let sql = format!("select id from {}", stream.table);
    let ids: BTreeSet<String> = client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let known: BTreeSet<_> = keys.iter().cloned().collect();
    assert!(ids.is_subset(&known), "rows nobody wrote an event for: {:?}", ids.difference(&known));
    let rows = stream.projection.load(&keys).await.unwrap();
    let present = rows.iter().filter(|row| row.document.is_some()).count();
    assert_eq!(present, ids.len(), "the projection has every row");
    rows
}

/// What a search finds, in all.
async fn documents_of(site: &Site<'_>, stream: &Stream, oracle: &mut Oracle) {
    // It sees every applied write, and from then on a search does.
    let counted = stream.sink.count().await.unwrap();
    oracle.counted(&stream.topic, counted);
    for (key, Stored { version, document }) in stream.sink.look("*", DOCUMENTS).await.unwrap() {
        let version = Version::from_external(site.servers.index.claimed(version.external()));
        oracle.document(&stream.topic, &key, &Stored { version, document });
    }
}

async fn letters_of(site: &Site<'_>) -> Vec<KeptLetter> {
    PostgresDeadLetters::new(database(&site.url)).list(&LetterSelection::default(), 0, DOCUMENTS).await.unwrap()
}

fn is_poisoned(rows: &[Current], key: &str) -> bool {
    let row = rows.iter().find(|row| row.key == key).and_then(|row| row.document.as_ref());
    row.is_some_and(|document| document.contains("no_such_field"))
}
