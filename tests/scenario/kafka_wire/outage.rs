//! Brokers that freeze, die and come back.

use std::time::Duration;

use futures::FutureExt;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicState, check};
use sync_core::port::{Acknowledgement, Polled, Publisher, Subscriber};
use sync_core::{ErrorKind, Remedy};

use super::broker::Broker;
use super::{at, by_key, first_occurrences, message, publish, read, soon};

const KEYS: usize = 20;

struct Writer {
    publisher: KafkaPublisher,
    number: usize,
    outstanding: Vec<Acknowledgement>,
}

impl Writer {
    /// Publishes one message of each key.
    async fn write(&mut self) {
        let batch = (0..KEYS).map(|key| message("outage", &format!("job-{key}"), self.number)).collect();
        self.number += 1;
        self.outstanding.push(soon(self.publisher.publish(batch)).await.unwrap());
    }

    async fn settle(&mut self) {
        soon(futures::future::try_join_all(self.outstanding.drain(..))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_freezes_and_dies_costs_delay_and_neither_a_message_nor_the_order() {
    let mut broker = tokio::task::spawn_blocking(|| Broker::start(&[], &[], &[], |_| {})).await.unwrap();
    let mut config = at(&broker.address(0));
    // A frozen broker is given up after this; the default of a minute would only make the test longer.
    config.properties.insert("socket.timeout.ms".to_owned(), "3000".to_owned());
    // So is a topic that is not there, after half a minute otherwise.
    config.properties.insert("topic.metadata.propagation.max.ms".to_owned(), "2000".to_owned());
    a_topic_that_is_gone_fails_what_is_outstanding_and_is_not_made_again_by_the_broker(&config).await;
    let publisher = KafkaPublisher::new(&config).unwrap();
    let mut writer = Writer { publisher, number: 0, outstanding: Vec::new() };
    for _ in 0..10 {
        writer.write().await;
    }
    writer.settle().await;

    let frozen = broker.freeze();
    for _ in 0..50 {
        writer.write().await;
    }
    // Longer than the connection is given: the requests under way are given up and sent again.
    let mut stored = writer.outstanding.pop().unwrap();
    assert!(
        tokio::time::timeout(Duration::from_secs(5), &mut stored).await.is_err(),
        "acknowledged by a frozen broker"
    );
    drop(frozen);
    soon(stored).await.unwrap();
    writer.settle().await;

    for _ in 0..50 {
        writer.write().await;
    }
    broker.kill();
    for _ in 0..50 {
        writer.write().await;
    }
    assert!(writer.outstanding.last_mut().unwrap().now_or_never().is_none(), "acknowledged by a dead broker");
    tokio::task::block_in_place(|| broker.run());
    writer.settle().await;

    let all = writer.number * KEYS;
    let values = by_key(&read(&config, "outage", all).await);
    assert_eq!(values.len(), KEYS);
    for (key, values) in values {
        assert_eq!(first_occurrences(&values), (0..writer.number).collect::<Vec<_>>(), "{key:?}");
        // The same producer all along: not even a repeat.
        assert_eq!(values.len(), writer.number, "{key:?}");
    }

    a_consumer_says_that_the_brokers_are_gone_and_goes_on_when_they_are_back(&mut broker, &config).await;
    a_publisher_that_is_dropped_in_an_outage_does_not_wait_for_its_end(&broker, writer).await;
}

/// A broker left to itself would create what is asked for, with settings of its own.
async fn a_topic_that_is_gone_fails_what_is_outstanding_and_is_not_made_again_by_the_broker(config: &KafkaConfig) {
    publish(&KafkaPublisher::new(config).unwrap(), vec![message("gone", "job", 1)]).await;
    let topics = config.topics.create(false);
    let publisher = KafkaPublisher::new(&config.clone().topics(topics)).unwrap();
    publish(&publisher, vec![message("gone", "job", 2)]).await;
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    for deleted in soon(admin.delete_topics(&["gone"], &AdminOptions::new())).await.unwrap() {
        deleted.unwrap();
    }

    // A broker in a hurry takes messages for a moment after it said that the topic is gone.
    let failed = async {
        loop {
            let acknowledgement = publisher.publish(vec![message("gone", "job", 3)]).await.unwrap();
            if let Err(error) = acknowledgement.await {
                return error;
            }
        }
    };
    let error = soon(failed).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = soon(publisher.publish(vec![message("gone", "job", 3)])).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    for topic in ["gone", "never-there"] {
        let found = check(&config.clone().topics(topics), &[topic.to_owned()]).await.unwrap();
        assert_eq!(found[0].state, TopicState::Missing, "{topic}");
    }
}

async fn a_consumer_says_that_the_brokers_are_gone_and_goes_on_when_they_are_back(
    broker: &mut Broker,
    config: &KafkaConfig,
) {
    let publisher = KafkaPublisher::new(config).unwrap();
    publish(&publisher, vec![message("consumed", "job", 1)]).await;
    let subscriber = KafkaSubscriber::new(config, "group", "consumed", None).unwrap();
    let mut consumer = soon(subscriber.subscribe()).await.unwrap();
    let mut seen = Vec::new();
    let mut complaints = 0;
    while seen.is_empty() {
        if let Polled::Messages(messages) = soon(consumer.poll()).await.unwrap() {
            seen.extend(messages);
        }
    }
    broker.kill();
    while complaints == 0 {
        if let Err(error) = soon(consumer.poll()).await {
            assert_eq!(error.remedy(), Remedy::Retry, "{error}");
            assert!(error.to_string().contains("kafka.brokers: cannot reach"), "{error}");
            complaints += 1;
        }
    }
    tokio::task::block_in_place(|| broker.run());
    publish(&publisher, vec![message("consumed", "job", 2)]).await;
    while seen.len() < 2 {
        match soon(consumer.poll()).await {
            Ok(Polled::Messages(messages)) => seen.extend(messages),
            Ok(Polled::Assigned(_) | Polled::Revoked(_)) => {}
            Err(error) => assert_eq!(error.remedy(), Remedy::Retry, "{error}"),
        }
    }
    assert!(by_key(&seen).into_values().all(|values| first_occurrences(&values) == [1, 2]));
    soon(consumer.close()).await.unwrap();
}

async fn a_publisher_that_is_dropped_in_an_outage_does_not_wait_for_its_end(broker: &Broker, mut writer: Writer) {
    let frozen = broker.freeze();
    writer.write().await;
    let began = std::time::Instant::now();
    let Writer { publisher, outstanding, .. } = writer;
    drop(publisher);
    assert!(began.elapsed() < Duration::from_secs(2), "less than its time-outs: {:?}", began.elapsed());
    for acknowledgement in outstanding {
        assert_eq!(soon(acknowledgement).await.unwrap_err().remedy(), Remedy::Retry);
    }
    drop(frozen);
}
