//! A consumer under observation: what it is told has to make sense at every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::port::{Consumer, Incoming, OffsetCommit, Partition, Polled, Subscriber};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what has to come.
pub(super) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, coming).await {
        Ok(came) => came,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// A consumer, and all it has told.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) owned: BTreeSet<Partition>,
    /// All messages, in the order they came.
    pub(super) seen: Vec<Incoming>,
    /// Where each partition stands since it was assigned.
    next: BTreeMap<Partition, i64>,
}

impl Member {
    pub(super) async fn new(subscriber: &dyn Subscriber) -> Self {
        let consumer = soon("joining", subscriber.subscribe()).await.unwrap();
        Self { consumer, owned: BTreeSet::new(), seen: Vec::new(), next: BTreeMap::new() }
    }

    /// Joins and waits until all partitions are its own.
    pub(super) async fn with_all(subscriber: &dyn Subscriber, partitions: i32) -> Self {
        let mut member = Self::new(subscriber).await;
        let all = usize::try_from(partitions).unwrap();
        soon("all partitions", member.step_until(|member| member.owned.len() == all)).await;
        member
    }

    pub(super) fn take_note(&mut self, polled: Polled) {
        match polled {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    assert!(self.owned.insert(partition.clone()), "{partition} is assigned a second time");
                    self.next.remove(&partition);
                }
            }
            Polled::Revoked(partitions) => {
                for partition in partitions {
                    assert!(self.owned.remove(&partition), "{partition} is revoked without having been assigned");
                }
            }
            Polled::Messages(messages) => {
                assert!(!messages.is_empty(), "a poll gave no messages");
                for message in messages {
                    let Incoming { partition, offset, .. } = &message;
                    assert!(self.owned.contains(partition), "a message of {partition}, which is not assigned");
                    let next = self.next.insert(partition.clone(), offset + 1).unwrap_or(0);
                    assert!(*offset >= next, "{partition} went back from {next} to {offset}");
                    self.seen.push(message);
                }
            }
        }
    }

    pub(super) async fn step(&mut self) {
        let polled = self.consumer.poll().await.unwrap();
        self.take_note(polled);
    }

    pub(super) async fn step_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.step().await;
        }
    }

    /// Polls until that many messages have been seen in all; no more may come.
    pub(super) async fn see(&mut self, messages: usize) {
        soon("messages", self.step_until(|member| member.seen.len() >= messages)).await;
        assert_eq!(self.seen.len(), messages, "more messages than were sent: {:?}", self.values());
    }

    /// The values seen, as text.
    pub(super) fn values(&self) -> Vec<String> {
        self.seen.iter().map(value).collect()
    }

    /// The values seen that stand for numbers, for one key.
    pub(super) fn numbers_of(&self, key: &str) -> Vec<usize> {
        let of_key = self.seen.iter().filter(|message| message.key.as_deref() == Some(key.as_bytes()));
        of_key.map(|message| value(message).parse().unwrap()).collect()
    }

    /// Where the messages of one key are.
    pub(super) fn partition_of(&self, key: &str) -> Partition {
        let of_key = self.seen.iter().find(|message| message.key.as_deref() == Some(key.as_bytes()));
        of_key.unwrap().partition.clone()
    }

    /// Commits everything seen in partitions it still has.
    pub(super) fn commit_all(&mut self) {
        let done: Vec<_> = self.owned.iter().filter_map(|partition| self.done_with(partition)).collect();
        self.consumer.commit(&done).unwrap();
    }

    fn done_with(&self, partition: &Partition) -> Option<OffsetCommit> {
        let next = *self.next.get(partition)?;
        Some(OffsetCommit { partition: partition.clone(), next })
    }

    pub(super) async fn close(self) {
        soon("closing", self.consumer.close()).await.unwrap();
    }
}

fn value(message: &Incoming) -> String {
    String::from_utf8(message.value.as_deref().unwrap_or_default().to_vec()).unwrap()
}

/// Polls two members at once until something is true of them.
pub(super) async fn both_until(one: &mut Member, other: &mut Member, done: impl Fn(&Member, &Member) -> bool) {
    soon("the two members to get there", async {
        while !done(one, other) {
            // The poll that comes second is dropped: that, too, must lose nothing.
            tokio::select! {
                polled = one.consumer.poll() => one.take_note(polled.unwrap()),
                polled = other.consumer.poll() => other.take_note(polled.unwrap()),
            }
        }
    })
    .await;
}
