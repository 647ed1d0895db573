//! Topics that are there, that may be made, and that may not.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use sync_core::adapter::kafka::{KafkaPublisher, KafkaSubscriber, Topic, TopicConfig, TopicState, check};
use sync_core::port::{Consumer, OffsetCommit, Polled, Publisher, Subscriber};
use sync_core::{ErrorKind, Remedy};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{at, config, message, publish, soon};
use crate::support::broker::Broker;
use crate::support::process;
use crate::support::servers;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_created_as_configured() {
    let topic = servers::unique("created");
    let mut config = config();
    config.topics = TopicConfig::default().create(true).partitions(5).replication(1);
    let before = check(&config, std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!((before[0].topic.as_str(), before[0].state), (topic.as_str(), TopicState::Creatable));
    publish(&KafkaPublisher::new(&config).unwrap(), vec![message(&topic, "job", 1)]).await;
    let after = check(&config, std::slice::from_ref(&topic)).await.unwrap();
    let present = Topic {
        partitions: 5,
        replication: 1,
        brokers: 1,
        max_message_bytes: 1_048_588,
        min_in_sync: 1,
        keeps_for: None,
    };
    assert_eq!(after[0].state, TopicState::Present(present));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_may_create_a_topic_at_once() {
    let topic = servers::unique("race");
    let publishers: Vec<_> = (0..4).map(|_| KafkaPublisher::new(&config()).unwrap()).collect();
    let race = publishers.iter().map(|publisher| publish(publisher, vec![message(&topic, "job", 1)]));
    futures::future::join_all(race).await;
    let found = check(&config(), std::slice::from_ref(&topic)).await.unwrap();
    assert!(matches!(found[0].state, TopicState::Present(Topic { partitions: 3, .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_created_is_an_error_that_names_it_and_is_not_created() {
    let (known, topic) = (servers::unique("known"), servers::unique("missing"));
    let mut config = config();
    publish(&KafkaPublisher::new(&config).unwrap(), vec![message(&known, "job", 1)]).await;
    config.topics.create = false;
    let publisher = KafkaPublisher::new(&config).unwrap();
    let batch = vec![message(&known, "job", 2), message(&topic, "job", 2)];
    let refused = publisher.publish(batch).await.err().unwrap();
    let subscriber = KafkaSubscriber::new(&config, "group", &topic, None).unwrap();
    for error in [refused, subscriber.subscribe().await.unwrap_err(), subscriber.lag().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(&topic), "{error}");
    }
    let error = publisher.publish(vec![message(&topic, "job", 3)]).await.err().unwrap();
    assert!(error.to_string().contains("kafka.topics.create"), "{error}");
    let found = check(&config, std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(found[0].state, TopicState::Missing);
    // What is known goes on, and nothing of the refused batch went.
    publish(&publisher, vec![message(&known, "job", 4)]).await;
    let values = super::by_key(&super::read(&config, &known, 2).await);
    assert_eq!(values.into_values().collect::<Vec<_>>(), [[1, 4]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_as_configured_is_an_error_that_says_why() {
    let mut config = config();
    config.topics.replication = 3;
    let topic = servers::unique("copies");
    let checked = check(&config, std::slice::from_ref(&topic)).await.unwrap_err();
    let published = KafkaPublisher::new(&config).unwrap().publish(vec![message(&topic, "job", 1)]).await.err().unwrap();
    for error in [checked, published] {
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("kafka.topics.replication"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_topic_that_can_have_no_such_name_is_refused_and_whoever_reads_one_was_told_the_wrong_name() {
    let (config, name) = (config(), servers::unique("names"));
    let (dotted, alike) = (format!("{name}.a"), format!("{name}_a"));
    let publisher = KafkaPublisher::new(&config).unwrap();
    for (topic, why) in [(&*alike, "by `.` and `_` only"), ("no topic", "takes no such name"), ("__own", "Kafka's")] {
        let batch = vec![message(&dotted, "job", 1), message(topic, "job", 1)];
        let refused = publisher.publish(batch).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
        assert!(refused.to_string().contains(why) && refused.to_string().contains(topic), "{refused}");
    }
    // Nothing of the refused batches went.
    publish(&publisher, vec![message(&dotted, "job", 2)]).await;
    let values = super::by_key(&super::read(&config, &dotted, 1).await);
    assert_eq!(values.into_values().collect::<Vec<_>>(), [[2]]);
    let subscriber = KafkaSubscriber::new(&config, "group", &alike, None).unwrap();
    assert_eq!(subscriber.subscribe().await.unwrap_err().kind(), ErrorKind::Configuration);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_reached_is_an_error_in_time_that_names_the_setting() {
    let address = format!("127.0.0.1:{}", process::free_port());
    let config = at(&address);
    let subscriber = KafkaSubscriber::new(&config, "group", "topic", None).unwrap();
    let began = Instant::now();
    for error in [
        check(&config, &["topic".to_owned()]).await.unwrap_err(),
        KafkaPublisher::new(&config).unwrap().publish(vec![message("topic", "job", 1)]).await.err().unwrap(),
        subscriber.subscribe().await.unwrap_err(),
        soon(subscriber.lag()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let said = error.to_string();
        assert!(said.starts_with("kafka.brokers: cannot reach") && said.contains(&address), "{said}");
        assert!(said.contains("Connection refused"), "{said}");
    }
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_one_of_several_brokers_has_not_heard_of_yet_is_waited_for() {
    let brokers = spawn_blocking(|| Broker::cluster(&[[], [], []], &[])).await.unwrap();
    let mut config = at(&brokers.iter().map(|broker| broker.address(0)).collect::<Vec<_>>().join(","));
    config.topics = TopicConfig::default().create(true).partitions(3).replication(3);
    // The clients of one topic ask different brokers while it is being made.
    let numbers = (0..6).flat_map(|number| [number; 2]);
    let joining = numbers.map(|number| {
        let subscriber = KafkaSubscriber::new(&config, "group", &format!("heard-{number}"), None).unwrap();
        async move {
            loop {
                let joined = async {
                    let mut consumer = subscriber.subscribe().await?;
                    consumer.poll().await?;
                    consumer.close().await
                };
                match joined.await {
                    Ok(()) => return,
                    // It passes by itself.
                    Err(error) => assert_eq!(error.remedy(), Remedy::Retry, "{error}"),
                }
            }
        }
    });
    soon(futures::future::join_all(joining)).await;
}

/// One process of a group that begins anew when its membership is over, as an indexer does.
struct Reader {
    subscriber: KafkaSubscriber,
    consumer: Option<Box<dyn Consumer>>,
}

impl Reader {
    /// Reads and commits until a message has this value.
    async fn read_until(&mut self, last: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            let consumer = match &mut self.consumer {
                Some(consumer) => consumer,
                None => self.consumer.insert(soon(self.subscriber.subscribe()).await.unwrap()),
            };
            match soon(consumer.poll()).await {
                Ok(Polled::Messages(messages)) => {
                    for message in messages {
                        seen.push(std::str::from_utf8(message.value.as_deref().unwrap()).unwrap().parse().unwrap());
                        let done = OffsetCommit { partition: message.partition, next: message.offset + 1 };
                        consumer.commit(&[done]).unwrap();
                    }
                }
                Ok(Polled::Assigned(_) | Polled::Revoked(_)) => {}
                Err(error) => {
                    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
                    if consumer.is_over() {
                        self.consumer = None;
                    }
                }
            }
        }
        let nothing_is_behind = async {
            while self.subscriber.lag().await.unwrap().iter().any(|lag| lag.behind > 0) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        soon(nothing_is_behind).await;
        seen
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_offsets_go_back_under_a_consumer_is_read_from_its_beginning() {
    let topic = servers::unique("anew");
    let mut config = config();
    config.topics.partitions = 1;
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let subscriber = KafkaSubscriber::new(&config, "group", &topic, None).unwrap();
    let mut reader = Reader { subscriber, consumer: None };
    let write = async |values: Range<usize>| {
        let batch = values.map(|value| message(&topic, "job", value)).collect();
        publish(&KafkaPublisher::new(&config).unwrap(), batch).await;
    };
    write(0..5).await;
    assert_eq!(reader.read_until(4).await, [0, 1, 2, 3, 4]);
    // Fewer messages each time than there were.
    for values in [10..13, 20..22] {
        for deleted in soon(admin.delete_topics(&[&topic], &AdminOptions::new())).await.unwrap() {
            deleted.unwrap();
        }
        // A broker in a hurry takes messages for a moment after it said that the topic is gone.
        let gone = async {
            while check(&config, std::slice::from_ref(&topic)).await.unwrap()[0].state != TopicState::Creatable {
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon(gone).await;
        write(values.clone()).await;
        assert_eq!(reader.read_until(values.end - 1).await, values.collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_topic_was_deleted_is_over_and_commits_nothing_into_the_one_made_anew() {
    let topic = servers::unique("late");
    let mut config = config();
    config.topics.partitions = 1;
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let subscriber = KafkaSubscriber::new(&config, "group", &topic, None).unwrap();
    let mut reader = Reader { subscriber, consumer: None };
    let write = async |values: Range<usize>| {
        let batch = values.map(|value| message(&topic, "job", value)).collect();
        publish(&KafkaPublisher::new(&config).unwrap(), batch).await;
    };
    write(0..5).await;
    assert_eq!(reader.read_until(4).await, [0, 1, 2, 3, 4]);
    for deleted in soon(admin.delete_topics(&[&topic], &AdminOptions::new())).await.unwrap() {
        deleted.unwrap();
    }
    let mut consumer = reader.consumer.take().unwrap();
    let over = async {
        while !consumer.is_over() {
            if let Err(error) = consumer.poll().await {
                assert_eq!(error.remedy(), Remedy::Retry, "{error}");
            }
        }
    };
    soon(over).await;
    // More messages than there were, before it leaves.
    write(10..30).await;
    soon(consumer.close()).await.unwrap();
    assert_eq!(reader.read_until(29).await, (10..30).collect::<Vec<_>>());
}
