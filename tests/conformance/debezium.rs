//! What becomes of an outbox table by Debezium's outbox event router, and by a route and `relay.encoding = "debezium"`.

mod guide;
mod messages;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher};
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::event::{DebeziumValue, Encoding};
use sync_core::port::{Acknowledgement, Publisher};
use sync_core::relay::{Relay, RelayConfig};
use sync_core::{Error, Outgoing};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use self::messages::{Message, make_topics, read};
use self::rows::{AGGREGATES, Expanded, PLACEMENT, ROWS, TABLES, messages, row_of, writing};
use crate::support::connect::{Connector, Worker, debezium};
use crate::support::postgres::{database, fresh_outbox};
use crate::support::servers;

/// Connectors, by what is read of the four tables and how it is written.
const STRING: &str = "string";
const EXPANDED: &str = "expanded";
const QUOTED: &str = "quoted";
const STOPPED: &str = "stopped";

const JSON: &str =
    "value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.schemas.enable=false\n";
const EXPAND: &str = "transforms.outbox.table.expand.json.payload=true\n";

/// A database with all four tables routed, and the prefix of all topics.
struct Stage {
    client: Client,
    url: String,
    prefix: String,
}

impl Stage {
    async fn new() -> Self {
        let (client, url) = fresh_outbox().await;
        let prefix = servers::unique("debezium");
        let headers: BTreeMap<_, _> = PLACEMENT.into_iter().collect();
        let headers = serde_json::to_string(&headers).unwrap();
        let routes = ["orders", "notes", "papers", "picky"].map(|table| {
            format!(
                "select outbox.route('{table}', topic => '{prefix}.ours.${{routedByValue}}', headers => '{headers}')"
            )
        });
        client.batch_execute(&format!("{TABLES}; {}", routes.join(";"))).await.unwrap();
        let stage = Self { client, url, prefix };
        for writer in [STRING, EXPANDED, QUOTED, STOPPED, "ours", "ours-quoted"] {
            make_topics(&stage.topics(writer)).await;
        }
        stage
    }

    fn prefix_of(&self, writer: &str) -> String {
        format!("{}.{writer}.", self.prefix)
    }

    fn topics(&self, writer: &str) -> Vec<String> {
        AGGREGATES.iter().map(|aggregate| format!("{}{aggregate}", self.prefix_of(writer))).collect()
    }

    /// Everything one of them wrote.
    async fn read(&self, writer: &str, count: usize) -> Vec<Message> {
        let (prefix, topics) = (self.prefix_of(writer), self.topics(writer));
        let is_enough = move |messages: &[Message]| messages.len() >= count;
        tokio::task::spawn_blocking(move || read(&prefix, &topics, is_enough)).await.unwrap()
    }

    fn connector(&self, name: &str, tables: &str, settings: &str) -> Connector {
        let placement: Vec<_> = PLACEMENT.iter().map(|(column, header)| format!("{column}:header:{header}")).collect();
        Connector {
            name: name.to_owned(),
            slot: format!("{}_{name}", self.prefix.replace('-', "_")),
            settings: format!(
                "slot.drop.on.stop=true\npublication.name=outbox\npublication.autocreate.mode=disabled\n\
                 table.include.list={tables}\ntombstones.on.delete=false\n\
                 transforms.outbox.route.topic.replacement={}${{routedByValue}}\n\
                 transforms.outbox.table.fields.additional.placement={}\n{settings}",
                self.prefix_of(name),
                placement.join(","),
            ),
        }
    }

    fn worker(&self, debezium: &Path) -> Worker {
        let three = "public.orders,public.notes,public.papers";
        let all = &format!("{three},public.picky");
        let connectors = vec![
            self.connector(STRING, all, ""),
            self.connector(EXPANDED, three, &format!("{JSON}{EXPAND}")),
            self.connector(QUOTED, all, JSON),
            self.connector(STOPPED, "public.picky", &format!("{JSON}{EXPAND}")),
        ];
        let name = self.url.rsplit_once('/').unwrap().1;
        Worker::new(debezium, name, connectors)
    }

    /// Runs a relay of ours until it has published so many messages, and gives them.
    async fn relayed(&self, writer: &'static str, value: DebeziumValue, count: usize) -> Vec<Message> {
        let config = SourceConfig::default().subscription(writer).holder("test");
        let kafka = KafkaConfig::new(servers::kafka());
        let (from, to) = (self.prefix_of("ours"), self.prefix_of(writer));
        let publisher = Renaming { inner: KafkaPublisher::new(&kafka).unwrap(), from, to };
        let encoding = Encoding::Debezium(value);
        let source = Arc::new(PostgresSource::new(database(&self.url), config));
        let relay = Relay::builder("search", source, Arc::new(publisher))
            .config(RelayConfig::default().encoding(encoding))
            .build();
        let shutdown = CancellationToken::new();
        let reading = async {
            let messages = self.read(writer, count).await;
            shutdown.cancel();
            messages
        };
        let (ran, messages) = tokio::join!(relay.run(shutdown.clone()), reading);
        ran.unwrap();
        messages
    }
}

/// Publishes to topics of another prefix: two relays read the same events.
#[derive(Debug)]
struct Renaming {
    inner: KafkaPublisher,
    from: String,
    to: String,
}

#[async_trait]
impl Publisher for Renaming {
    async fn publish(&self, mut batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        for message in &mut batch {
            message.topic = message.topic.replacen(&self.from, &self.to, 1);
        }
        self.inner.publish(batch).await
    }
}

/// Ids in the order in which they lie in a topic, by topic and key; what has no key has no order.
fn by_key(messages: &[Message]) -> BTreeMap<(&str, &[u8]), Vec<&str>> {
    let mut ids: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in messages {
        if let Some(key) = &message.key {
            ids.entry((message.topic.as_str(), key.as_slice())).or_default().push(message.id());
        }
    }
    ids
}

/// Both wrote the same rows, each once, with the same keys to the same places in the same order, and the same headers. What differs:
///
/// - a row without a key: theirs has none, ours the row's id;
/// - a column without a value: theirs is a header without one, ours no header;
/// - headers of theirs about the connector, whose names begin with `__debezium.`.
fn assert_alike(theirs: &[Message], ours: &[Message], values_are_alike: impl Fn(&Message, &Message)) {
    let by_id: BTreeMap<_, _> = ours.iter().map(|message| (message.id(), message)).collect();
    assert_eq!((theirs.len(), by_id.len()), (ours.len(), ours.len()), "each row once");
    for their in theirs {
        let our = by_id.get(their.id()).unwrap_or_else(|| panic!("ours lacks {their:?}"));
        assert_eq!(their.topic, our.topic, "{their:?}");
        match &their.key {
            Some(_) => assert_eq!((&their.key, their.partition), (&our.key, our.partition), "{their:?}"),
            None => assert_eq!(our.key.as_deref(), Some(their.id().as_bytes()), "{their:?}"),
        }
        let mut headers = their.headers.clone();
        headers.retain(|name, value| value.is_some() && !name.starts_with("__debezium."));
        assert_eq!(headers, our.headers, "{their:?}");
        values_are_alike(their, our);
    }
    let mut keyed = by_key(ours);
    keyed.retain(|(_, key), ids| ids.iter().all(|id| id.as_bytes() != *key));
    assert_eq!(by_key(theirs), keyed, "the order of each key");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What `JsonConverter` makes of an expanded payload is what [`ROWS`] say.
fn assert_expanded(their: &Message, our: &Message) {
    let (their, our, sort) = (their.text(), our.text(), row_of(their.id()).map_or(Expanded::Same, |row| row.expanded));
    match sort {
        Expanded::Same => assert_eq!(json(their.unwrap()), json(our.unwrap())),
        Expanded::Changed(to) => {
            assert_eq!(their, Some(to));
            assert_ne!(our.unwrap().replace(' ', ""), to, "that is no difference any more");
        }
        Expanded::Quoted => assert_eq!(json(their.unwrap()), Value::from(our.unwrap())),
        Expanded::Null => assert_eq!((their, our), (Some("null"), None)),
        Expanded::Stops => panic!("it was read: {their:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routed_table_becomes_the_messages_that_debeziums_outbox_event_router_makes_of_it() {
    let Some(debezium) = debezium() else { return };
    let stage = Stage::new().await;
    let mut worker = stage.worker(&debezium);
    worker.start(&stage.client).await;
    stage.client.batch_execute(&writing()).await.unwrap();

    let ours = stage.relayed("ours", DebeziumValue::Json, messages(true)).await;
    let ours_quoted = stage.relayed("ours-quoted", DebeziumValue::JsonString, messages(true)).await;

    let theirs = stage.read(STRING, messages(true)).await;
    assert_alike(&theirs, &ours, |their, our| assert_eq!(their.value, our.value, "byte for byte"));

    let theirs = stage.read(QUOTED, messages(true)).await;
    assert_alike(&theirs, &ours_quoted, |their, our| {
        let (their, our) = (their.text().unwrap(), our.text().unwrap());
        assert_eq!(json(their), json(our));
        // They write a character beyond the first plane as two escapes.
        assert!(their == our || our.contains('\u{1F980}'), "{their} {our}");
    });

    let theirs = stage.read(EXPANDED, messages(false)).await;
    let is_picky = |message: &&Message| message.topic != "pick";
    let without_picky: Vec<_> = ours.iter().filter(is_picky).cloned().collect();
    assert_alike(&theirs, &without_picky, assert_expanded);

    let (state, why) = worker.task(STOPPED);
    assert!(state == "FAILED" && why.contains("Invalid type for"), "{state}: {why}");
    assert_eq!(ROWS.iter().filter(|row| row.expanded == Expanded::Stops).count(), 4);
}
