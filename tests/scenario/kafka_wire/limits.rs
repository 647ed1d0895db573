//! Messages too large for their topic.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sync_core::adapter::kafka::{KafkaPublisher, KafkaSubscriber, KafkaTransactor, TransactorConfig};
use sync_core::port::{Publisher, Subscriber, Transactor};
use sync_core::{ErrorKind, Outgoing};

use super::{by_key, config, first_occurrences, message, publish, read, soon};
use crate::support::servers;

const LIMIT: usize = 20_000;

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers::kafka()).create().unwrap()
}

async fn topic_with_limit(limit: usize) -> String {
    let (topic, limit) = (servers::unique("limit"), limit.to_string());
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", &limit);
    for created in soon(admin().create_topics([&new], &AdminOptions::new())).await.unwrap() {
        created.unwrap();
    }
    topic
}

/// A message without headers that takes exactly `size` bytes and cannot be compressed below.
fn of_size(topic: &str, size: usize) -> Outgoing {
    // 61 for the batch, 3 for the length of the record, 3 for its fixed fields, 4 and 1 for the key, 3 for the length of
    // the value, 1 for the number of headers.
    let length = size - 61 - 3 - 3 - 4 - 3 - 1;
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_u32(0x20 + u32::try_from(state >> 33).unwrap() % 95).unwrap()
    };
    let value = Some((0..length).map(|_| random()).collect());
    Outgoing { topic: topic.to_owned(), key: "job".to_owned(), value, headers: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_is_refused_before_anything_of_its_batch_is_sent_and_the_rest_still_goes() {
    let (topic, other) = (topic_with_limit(LIMIT).await, topic_with_limit(10 * LIMIT).await);
    let mut config = config();
    // Without compression the size that is counted is the size the broker sees.
    config.properties.insert("compression.type".to_owned(), "none".to_owned());
    let publisher = KafkaPublisher::new(&config).unwrap();
    publish(&publisher, vec![of_size(&topic, LIMIT)]).await;

    let mut large = of_size(&topic, LIMIT - 8);
    large.headers = vec![("id".into(), "4711".into())];
    large.key = "job-1".to_owned();
    let batch = vec![message(&topic, "job", "before"), large, message(&topic, "job", "after")];
    let error = publisher.publish(batch).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let said = error.to_string();
    // 8 bytes for the header, 2 for the longer key.
    for part in [topic.as_str(), "4711", "job-1", "20002", "20000", "max.message.bytes"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }

    // Far more than one batch's worth for the broker, and another topic's larger messages in between.
    let small = (0..2_000).map(|number| message(&topic, "job", format!("small {number} {:x<200}", "")));
    let medium = (0..200).map(|_| of_size(&other, LIMIT + 1));
    publish(&publisher, small.collect()).await;
    publish(&publisher, medium.collect()).await;
    let messages = read(&config, &topic, 2_001).await;
    let kept = messages[1..].iter().all(|one| one.value.as_deref().unwrap().starts_with(b"small"));
    assert!(kept, "part of the refused batch was sent");
    read(&config, &other, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_far_larger_than_what_is_fetched_at_once_arrives() {
    let topic = topic_with_limit(40 << 20).await;
    let publisher = KafkaPublisher::new(&config()).unwrap();
    let sizes = [6 << 20, 100, 30 << 20, 100];
    publish(&publisher, sizes.map(|size| message(&topic, "job", "x".repeat(size))).to_vec()).await;
    publish(&publisher, vec![of_size(&topic, 12 << 20)]).await;
    let lengths: Vec<_> =
        read(&config(), &topic, 5).await.iter().map(|one| one.value.as_ref().unwrap().len()).collect();
    assert_eq!(lengths[..4], sizes);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_message_the_broker_refuses_nothing_behind_it_is_stored_before_it_is_published_again() {
    let topic = topic_with_limit(10 * LIMIT).await;
    let mut config = config();
    // One message a request, so that some are under way behind the one that fails.
    config.properties.insert("batch.num.messages".to_owned(), "1".to_owned());
    config.properties.insert("compression.type".to_owned(), "none".to_owned());
    let publisher = KafkaPublisher::new(&config).unwrap();
    publish(&publisher, vec![message(&topic, "job", 0)]).await;

    lower_limit(&topic).await;
    let padded = |number: usize, length: usize| padded(&topic, number, length);
    let batch = |large: usize| -> Vec<_> { (1..=10).map(|n| padded(n, if n == 5 { large } else { 5 })).collect() };
    let acknowledgement = publisher.publish(batch(2 * LIMIT)).await.unwrap();
    let later = publisher.publish(vec![padded(11, 5)]).await;
    let error = soon(acknowledgement).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains(&topic), "{error}");
    if let Ok(later) = later {
        assert_eq!(soon(later).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    // What was under way behind it has time to be stored: it must not be.
    let observer = KafkaSubscriber::new(&config, "observer", &topic, None).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let stored: u64 = soon(observer.lag()).await.unwrap().iter().map(|lag| lag.behind).sum();
        assert!(stored <= 5, "{stored} messages are stored, though the sixth was refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // From the position again: now the message itself is named.
    let error = soon(publisher.publish(batch(2 * LIMIT))).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    publish(&publisher, batch(100)).await;
    publish(&publisher, vec![padded(11, 5)]).await;
    publish(&publisher, vec![padded(12, 5)]).await;
    let stored = read_until(&config, &topic, 12).await;
    assert_eq!(first_occurrences(&stored), (0..=12).collect::<Vec<_>>(), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_goes_on_after_a_failure_only_when_its_caller_was_told() {
    let topic = topic_with_limit(10 * LIMIT).await;
    let mut config = config();
    config.properties.insert("compression.type".to_owned(), "none".to_owned());
    let publisher = KafkaPublisher::new(&config).unwrap();
    publish(&publisher, vec![message(&topic, "job", 0)]).await;
    lower_limit(&topic).await;

    // Nobody looks at an acknowledgement, as a relay that is about to publish its next batch does not.
    let mut unseen = vec![publisher.publish(vec![padded(&topic, 1, 2 * LIMIT)]).await.unwrap()];
    let mut next = 2;
    let error = loop {
        match soon(publisher.publish(vec![padded(&topic, next, 5)])).await {
            Ok(acknowledgement) => unseen.push(acknowledgement),
            Err(error) => break error,
        }
        next += 1;
        assert!(next < 2_000, "it begins anew behind the gap");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains(&topic), "{error}");

    // From the position again.
    let again = (1..=next).map(|number| padded(&topic, number, 5)).collect();
    publish(&publisher, again).await;
    let stored = read_until(&config, &topic, next).await;
    assert_eq!(first_occurrences(&stored), (0..=next).collect::<Vec<_>>(), "{stored:?}");
}

/// Behind the publisher's back the limit is lowered, so that the broker is the one that refuses.
async fn lower_limit(topic: &str) {
    let lower = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", "20000");
    for altered in soon(admin().alter_configs([&lower], &AdminOptions::new())).await.unwrap() {
        altered.unwrap();
    }
}

fn padded(topic: &str, number: usize, length: usize) -> Outgoing {
    message(topic, "job", format!("{number:0length$}"))
}

/// Reads the one key of a topic until a value has come.
async fn read_until(config: &sync_core::adapter::kafka::KafkaConfig, topic: &str, last: usize) -> Vec<usize> {
    let mut count = last;
    loop {
        let values = by_key(&read(config, topic, count).await).into_values().next().unwrap();
        if values.contains(&last) {
            return values;
        }
        count = values.len() + 1;
    }
}

async fn raise_limit(topic: &str) {
    let raise = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", "200000");
    for altered in soon(admin().alter_configs([&raise], &AdminOptions::new())).await.unwrap() {
        altered.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_raised_counts_at_once() {
    let topic = topic_with_limit(LIMIT).await;
    let publisher = KafkaPublisher::new(&config()).unwrap();
    let names = TransactorConfig::default().positions(format!("{topic}-positions"));
    let transactor = KafkaTransactor::new(&config(), names).unwrap();
    let large = || vec![padded(&topic, 1, 2 * LIMIT)];
    let refusals = async || {
        for _ in 0..3 {
            let mut transactions = soon(transactor.begin("name")).await.unwrap();
            match soon(transactions.refusals(&large())).await {
                Ok(refusals) => return refusals.len(),
                // It begins anew with the topic's limits.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
        panic!("it begins anew again and again");
    };
    publish(&publisher, vec![padded(&topic, 0, 5)]).await;
    let error = soon(publisher.publish(large())).await.err().unwrap();
    assert_eq!((error.kind(), refusals().await), (ErrorKind::Refused, 1), "{error}");
    raise_limit(&topic).await;
    // As a dead letter that is replayed once there is room for it.
    publish(&publisher, large()).await;
    assert_eq!(refusals().await, 0);
}
