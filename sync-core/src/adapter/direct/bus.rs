//! Both ends of the direct bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::consumer::DirectConsumer;
use super::settlement::Settlement;
use super::topic::Topic;
use crate::error::{Error, ErrorKind};
use crate::event::Outgoing;
use crate::port::{Acknowledgement, Consumer, PartitionLag, Publisher, Subscriber};

/// The direct bus. Clones share it.
#[derive(Clone, Debug)]
pub struct DirectBus {
    topics: Arc<BTreeMap<String, Arc<Topic>>>,
}

impl DirectBus {
    /// A bus with these topics. Each holds at most `capacity` messages that are handed over and not committed, and
    /// spreads its keys over that many `partitions`; both are at least one.
    #[must_use]
    pub fn new<'a>(topics: impl IntoIterator<Item = &'a str>, capacity: usize, partitions: i32) -> Self {
        let topic = |name: &str| (name.to_owned(), Arc::new(Topic::new(name, capacity, partitions)));
        Self { topics: Arc::new(topics.into_iter().map(topic).collect()) }
    }

    /// The consuming end of one topic.
    ///
    /// # Errors
    /// `Configuration` when the bus does not have the topic.
    pub fn subscriber(&self, topic: &str) -> Result<DirectSubscriber, Error> {
        Ok(DirectSubscriber { topic: Arc::clone(self.topic(topic)?) })
    }

    fn topic(&self, name: &str) -> Result<&Arc<Topic>, Error> {
        self.topics.get(name).ok_or_else(|| {
            let known: Vec<_> = self.topics.keys().map(String::as_str).collect();
            let known = known.join(", ");
            let what =
                format!("direct bus: nobody reads topic {name:?} here (read are: {known}); read it, or use Kafka");
            Error::new(ErrorKind::Configuration, what)
        })
    }
}

#[async_trait]
impl Publisher for DirectBus {
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        for message in &batch {
            self.topic(&message.topic)?;
        }
        let settlement = Settlement::new();
        let mut batch = batch.into_iter().peekable();
        while let Some(message) = batch.peek() {
            self.topic(&message.topic)?.take_some(&mut batch, &settlement).await?;
        }
        Ok(Box::pin(settlement.end()))
    }
}

/// The consuming end of one topic. One consumer at a time: a second one is refused with `Unavailable` until the first
/// is closed or dropped. It has all partitions from its first poll on.
#[derive(Clone, Debug)]
pub struct DirectSubscriber {
    topic: Arc<Topic>,
}

#[async_trait]
impl Subscriber for DirectSubscriber {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(DirectConsumer::join(Arc::clone(&self.topic))?))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        Ok(self.topic.lag())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::adapter::partition_for;
    use crate::port::{OffsetCommit, Polled};
    #[cfg(feature = "testkit")]
    use crate::testkit::conformance::bus::{Harness, Traits, bus};

    #[cfg(feature = "testkit")]
    #[tokio::test]
    async fn the_direct_bus_keeps_every_promise_of_a_bus() {
        bus(async || {
            let bus = DirectBus::new(["topic"], 10_000, 4);
            Harness {
                topic: "topic".into(),
                partitions: 4,
                subscriber: Arc::new(bus.subscriber("topic").unwrap()),
                publisher: Arc::new(bus),
                traits: Traits { stores: false, shares: false },
                stranger: None,
            }
        })
        .await;
    }

    fn messages(topic: &str, count: usize) -> Vec<Outgoing> {
        let message = |number: usize| Outgoing {
            topic: topic.into(),
            key: format!("job-{number}"),
            value: Some(number.to_string()),
            headers: vec![],
        };
        (0..count).map(message).collect()
    }

    async fn read(consumer: &mut Box<dyn Consumer>) -> Vec<OffsetCommit> {
        loop {
            if let Polled::Messages(messages) = consumer.poll().await.unwrap() {
                let done = |message: crate::port::Incoming| OffsetCommit {
                    partition: message.partition,
                    next: message.offset + 1,
                };
                return messages.into_iter().map(done).collect();
            }
        }
    }

    #[tokio::test]
    async fn a_topic_nobody_reads_is_a_configuration_error_that_names_it() {
        let bus = DirectBus::new(["read"], 10, 2);
        let mut batch = messages("read", 1);
        batch.extend(messages("unread", 1));
        let error = bus.publish(batch).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("unread"), "{error}");
        let lag = bus.subscriber("read").unwrap().lag().await.unwrap();
        assert!(lag.iter().all(|lag| lag.behind == 0), "part of the batch was handed over");
        assert_eq!(bus.subscriber("unread").unwrap_err().kind(), ErrorKind::Configuration);
    }

    #[tokio::test]
    async fn no_more_than_the_capacity_is_held_until_it_is_committed() {
        let bus = DirectBus::new(["topic"], 10, 3);
        let subscriber = bus.subscriber("topic").unwrap();
        let mut consumer = subscriber.subscribe().await.unwrap();
        let mut publishing = bus.publish(messages("topic", 25));
        assert!((&mut publishing).now_or_never().is_none());
        let mut acknowledged = None;
        for held in [10, 10, 5] {
            assert_eq!(subscriber.lag().await.unwrap().iter().map(|lag| lag.behind).sum::<u64>(), held);
            let done = read(&mut consumer).await;
            assert_eq!(done.len() as u64, held);
            assert!(consumer.poll().now_or_never().is_none(), "reading alone makes room");
            consumer.commit(&done).unwrap();
            acknowledged = acknowledged.or_else(|| (&mut publishing).now_or_never());
        }
        acknowledged.unwrap().unwrap().await.unwrap();
    }

    #[tokio::test]
    async fn a_batch_of_which_a_part_went_with_its_consumer_is_not_handed_over_further() {
        let bus = DirectBus::new(["topic"], 10, 1);
        let subscriber = bus.subscriber("topic").unwrap();
        let mut consumer = subscriber.subscribe().await.unwrap();
        let mut publishing = bus.publish(messages("topic", 25));
        assert!((&mut publishing).now_or_never().is_none());
        let done = read(&mut consumer).await;
        consumer.commit(&done[..4]).unwrap();
        assert!((&mut publishing).now_or_never().is_none());
        consumer.close().await.unwrap();
        assert_eq!(publishing.await.err().unwrap().kind(), ErrorKind::Unavailable);

        // The next consumer begins with what is published next, at a higher offset.
        let mut consumer = subscriber.subscribe().await.unwrap();
        drop(bus.publish(messages("topic", 1)).await.unwrap());
        let next = read(&mut consumer).await;
        assert_eq!(next.len(), 1);
        assert!(next[0].next > done[9].next);
    }

    #[tokio::test]
    async fn a_topic_has_one_consumer_at_a_time() {
        let bus = DirectBus::new(["topic", "other"], 10, 1);
        let subscriber = bus.subscriber("topic").unwrap();
        let first = subscriber.subscribe().await.unwrap();
        assert_eq!(subscriber.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(bus.subscriber("other").unwrap().subscribe().await.unwrap());
        drop(first);
        drop(subscriber.subscribe().await.unwrap());
    }

    #[tokio::test]
    async fn a_full_partition_does_not_starve_the_others() {
        let bus = DirectBus::new(["topic"], 100_000, 2);
        let mut consumer = bus.subscriber("topic").unwrap().subscribe().await.unwrap();
        let key_of = |number: i32| {
            let mut keys = (0..).map(|key: usize| key.to_string());
            keys.find(|key| partition_for(key.as_bytes(), 2) == number).unwrap()
        };
        let message = |number| Outgoing { key: key_of(number), ..messages("topic", 1).remove(0) };
        for (full, other) in [(0, 1), (1, 0)] {
            let mut batch = vec![message(full); 20_000];
            batch.push(message(other));
            drop(bus.publish(batch).await.unwrap());
            let mut polls = 0;
            let is_other = |done: &OffsetCommit| done.partition.number == other;
            while !read(&mut consumer).await.iter().any(is_other) {
                polls += 1;
                assert!(polls < 2, "partition {other} waits for all of partition {full}");
            }
        }
    }

    #[tokio::test]
    async fn messages_that_were_never_given_out_are_never_acknowledged() {
        let bus = DirectBus::new(["topic"], 10, 1);
        let mut consumer = bus.subscriber("topic").unwrap().subscribe().await.unwrap();
        let mut acknowledgement = bus.publish(messages("topic", 3)).await.unwrap();
        let Polled::Assigned(partitions) = consumer.poll().await.unwrap() else { panic!("not assigned") };
        let far = OffsetCommit { partition: partitions[0].clone(), next: 1_000 };
        consumer.commit(std::slice::from_ref(&far)).unwrap();
        assert!((&mut acknowledgement).now_or_never().is_none());
        read(&mut consumer).await;
        consumer.commit(&[far]).unwrap();
        acknowledgement.await.unwrap();
    }
}
