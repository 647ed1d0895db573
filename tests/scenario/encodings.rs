//! The ways to write events into messages, through a real outbox, relay and broker.

mod cloud_events;

use std::sync::Arc;
use std::time::Duration;

use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, KafkaTransactor, TransactorConfig};
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::event::{CloudEventsMode, DebeziumValue, Encoding};
use sync_core::port::{Incoming, Polled, Subscriber};
use sync_core::relay::{Relay, RelayConfig};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::pipeline::{Pipeline, Way};
use crate::support::postgres::{database, fresh_outbox};
use crate::support::servers;

const BOUND: Duration = Duration::from_secs(120);

/// What a crash may repeat.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

const DELIVERIES: [Delivery; 2] = [Delivery::AtLeastOnce, Delivery::ExactlyOnce];

const SOURCE: &str = "/shop/orders";

fn cloudevents(mode: CloudEventsMode) -> Encoding {
    Encoding::CloudEvents { mode, source: SOURCE.to_owned() }
}

/// Two routed tables and calls of `outbox.emit`: five events of one key, so that they come in this order.
const EVENTS: &str = r#"
create table rows (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb);
create table texts (id int, aggregatetype text, aggregateid text, payload text);
select outbox.route('rows', topic => '{topic}', headers => '{"type": "type"}'), outbox.route('texts', topic => '{topic}');
insert into rows values ('0192aa00-0000-7000-8000-00000000000a', 'order', 'größe', 'created', '{"b": 1, "a": [1.50, "ß\n"]}');
insert into texts values (7, 'order', 'größe', 'no JSON: "'), (8, 'order', 'größe', null);
select outbox.emit('{topic}', 'größe', headers => '{"tenant": "3", "Odd-Name": "x", "source": "mine", "ce_id": "y"}');
select set_config('outbox.traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', false);
select outbox.emit('{topic}', 'größe', 'DELETE', '{"n": 12345678901234567890.10}');
"#;

/// The messages that become of [`EVENTS`], and the database they were written in.
async fn published(encoding: &Encoding, delivery: Delivery) -> (Client, Vec<Incoming>) {
    let (client, url) = fresh_outbox().await;
    let topic = servers::unique("encoded");
    client.batch_execute(&EVENTS.replace("{topic}", &topic)).await.unwrap();
    let kafka = KafkaConfig::new(servers::kafka());
    let source = SourceConfig::default().holder(servers::unique("relay"));
    let source = Arc::new(PostgresSource::new(database(&url), source));
    let config = RelayConfig::default().encoding(encoding.clone());
    let relay = match delivery {
        Delivery::AtLeastOnce => {
            Relay::builder("search", source, Arc::new(KafkaPublisher::new(&kafka).unwrap())).config(config).build()
        }
        Delivery::ExactlyOnce => {
            let names = TransactorConfig::default().namespace(topic.clone());
            Relay::exactly_once("search", source, Arc::new(KafkaTransactor::new(&kafka, names).unwrap()))
                .config(config)
                .build()
        }
    };
    let shutdown = CancellationToken::new();
    let reading = async {
        let subscriber = KafkaSubscriber::new(&kafka, &servers::unique("reader"), &topic, None).unwrap();
        let mut consumer = subscriber.subscribe().await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 5 {
            if let Polled::Messages(messages) = consumer.poll().await.unwrap() {
                seen.extend(messages);
            }
        }
        consumer.close().await.unwrap();
        shutdown.cancel();
        seen
    };
    let (ran, seen) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), reading) }).await.unwrap();
    ran.unwrap();
    for message in &seen {
        assert_eq!(message.key.as_deref(), Some("größe".as_bytes()), "every encoding has the key where it was");
    }
    (client, seen)
}

fn texts(message: &Incoming) -> (Option<&str>, Vec<(&str, &str)>) {
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap()));
    (message.value.as_deref().map(|value| std::str::from_utf8(value).unwrap()), headers.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_encoding_sends_payloads_as_they_are_and_the_rows_ids_and_headers() {
    for delivery in DELIVERIES {
        let (_, seen) = published(&Encoding::Debezium(DebeziumValue::Json), delivery).await;
        let trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let of_one_emitted = vec![("id", "4"), ("Odd-Name", "x"), ("ce_id", "y"), ("source", "mine"), ("tenant", "3")];
        let expected = [
            (
                Some(r#"{"a": [1.50, "ß\n"], "b": 1}"#),
                vec![("id", "0192aa00-0000-7000-8000-00000000000a"), ("type", "created")],
            ),
            (Some("no JSON: \""), vec![("id", "7")]),
            (None, vec![("id", "8")]),
            (None, of_one_emitted),
            (Some(r#"{"n": 12345678901234567890.10}"#), vec![("id", "5"), trace]),
        ];
        assert_eq!(seen.iter().map(texts).collect::<Vec<_>>(), expected, "{delivery:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_one_string_of_json_a_payload_reads_back_as_it_was() {
    let (_, plain) = published(&Encoding::Debezium(DebeziumValue::Json), Delivery::AtLeastOnce).await;
    let (_, quoted) = published(&Encoding::Debezium(DebeziumValue::JsonString), Delivery::AtLeastOnce).await;
    for (plain, quoted) in plain.iter().zip(&quoted) {
        let read: Option<String> = serde_json::from_str(texts(quoted).0.unwrap()).unwrap();
        assert_eq!(read.as_deref(), texts(plain).0);
        assert_eq!(plain.headers, quoted.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_indexer_follows_a_topic_in_every_encoding() {
    let encodings = [
        Encoding::Debezium(DebeziumValue::Json),
        cloudevents(CloudEventsMode::Binary),
        cloudevents(CloudEventsMode::Structured),
    ];
    for way in [Way::Kafka, Way::Direct] {
        for encoding in &encodings {
            let mut pipeline = Pipeline::new(way).await;
            pipeline.encoding = encoding.clone();
            pipeline
                .beside(async |_| {
                    pipeline.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 50) n").await;
                    pipeline
                        .execute("update jobs set title = title || '!'; delete from jobs where title like '%7!'")
                        .await;
                    assert_eq!(pipeline.until_equal().await.documents, 45, "{way:?} {encoding:?}");
                })
                .await;
            assert_eq!(pipeline.dead_letters().await.len(), 0, "{way:?} {encoding:?}");
        }
    }
}
