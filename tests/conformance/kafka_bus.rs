//! The Kafka bus on a real broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::port::Subscriber;
use sync_core::testkit::conformance::bus::{Harness, Stranger, Traits, bus};

use crate::support::servers;

/// Another producer, with a mind of its own.
struct Other {
    topic: String,
    producer: FutureProducer,
}

impl std::fmt::Debug for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Other").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Stranger for Other {
    fn write(&self, value: Option<Bytes>, headers: Vec<(String, Bytes)>) -> BoxFuture<'_, ()> {
        async move {
            let headers = headers.iter().fold(OwnedHeaders::new(), |all, (name, value)| {
                all.insert(Header { key: name, value: Some(&value[..]) })
            });
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic).headers(headers);
            record.payload = value.as_deref();
            self.producer.send(record, Duration::from_secs(30)).await.expect("the broker takes a message");
        }
        .boxed()
    }
}

async fn harness() -> Harness {
    let topic = servers::unique("conformance");
    let config = KafkaConfig::new(servers::kafka()).topics(TopicConfig::default().partitions(4));
    let producer = ClientConfig::new().set("bootstrap.servers", servers::kafka()).create().unwrap();
    Harness {
        publisher: Arc::new(KafkaPublisher::new(&config).unwrap()),
        subscriber: Arc::new(KafkaSubscriber::new(&config, &topic, &topic, None).unwrap()),
        stranger: Some(Arc::new(Other { topic: topic.clone(), producer })),
        topic,
        partitions: 4,
        traits: Traits { stores: true, shares: true },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kafka_bus_keeps_every_promise_of_a_bus() {
    bus(harness).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_topic_that_was_just_made_is_known() {
    let config = KafkaConfig::new(servers::kafka()).topics(TopicConfig::default().partitions(12));
    for _ in 0..10 {
        let topic = servers::unique("made");
        let subscriber = KafkaSubscriber::new(&config, &topic, &topic, None).unwrap();
        let (consumer, before) = tokio::join!(subscriber.subscribe(), subscriber.lag());
        before.unwrap();
        assert_eq!(subscriber.lag().await.unwrap().len(), 12);
        drop(consumer.unwrap());
    }
}
