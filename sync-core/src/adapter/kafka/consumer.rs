//! One member of a consumer group.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::assignment::{Change, Membership, numbers};
use super::client::{aside, off_thread};
use super::error::{translate, unreachable};
use crate::error::{Error, ErrorKind};
use crate::port::{Consumer, Incoming, OffsetCommit, Partition, Polled};

/// One poll gives at most this much: a few bulks' worth.
const MAX_MESSAGES: usize = 2_000;
const MAX_BYTES: usize = 4 << 20;
/// Messages share buffers of this size instead of having one each.
const BUFFER: usize = 64 << 10;
/// How long closing waits for the last commit.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct KafkaConsumer {
    /// Set until closed or dropped.
    consumer: Option<StreamConsumer<Membership>>,
    brokers: String,
    topic: Arc<str>,
    /// By partition number.
    owned: BTreeMap<i32, Progress>,
    buffer: BytesMut,
    /// An error that came behind messages, for the poll after theirs.
    held_back: Option<Error>,
    /// Why this consumer will never receive anything again.
    dead: Option<(ErrorKind, String)>,
}

/// How far a partition is read and committed by this consumer.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The first offset received: everything below was committed by somebody before.
    begin: Option<i64>,
    /// The last offset received.
    received: Option<i64>,
    committed: Option<i64>,
}

/// Why there are no more messages.
enum Ended {
    Failed(KafkaError),
    /// Offsets of this partition have gone back: it is another log than the one whose offsets were committed.
    Anew(i32),
}

impl fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConsumer").field("topic", &self.topic).field("owned", &self.owned).finish_non_exhaustive()
    }
}

impl KafkaConsumer {
    pub(super) fn new(consumer: StreamConsumer<Membership>, brokers: String, topic: Arc<str>) -> Self {
        Self {
            consumer: Some(consumer),
            brokers,
            topic,
            owned: BTreeMap::new(),
            buffer: BytesMut::new(),
            held_back: None,
            dead: None,
        }
    }

    fn partition(&self, number: i32) -> Partition {
        Partition { topic: Arc::clone(&self.topic), number }
    }

    /// What the callbacks have left to tell.
    fn tell_change(&mut self) -> Result<Option<Polled>, Error> {
        let Some(consumer) = &self.consumer else { return Ok(None) };
        match consumer.context().next_change() {
            None => Ok(None),
            Some(Change::Failed(error)) => Err(error),
            Some(Change::Assigned(numbers)) => {
                self.owned.extend(numbers.iter().map(|number| (*number, Progress::default())));
                let partitions: Vec<_> = numbers.into_iter().map(|number| self.partition(number)).collect();
                // A partition that was paused when it was taken away comes back paused.
                partitions.iter().try_for_each(|partition| self.resume(partition))?;
                Ok(Some(Polled::Assigned(partitions)))
            }
            Some(Change::Revoked(partitions)) => {
                let numbers = numbers(&partitions);
                self.owned.retain(|number, _| !numbers.contains(number));
                // Only now may the partitions move on; commits made before are on their way ahead of this.
                Membership::let_go(consumer, &partitions);
                Ok(Some(Polled::Revoked(numbers.into_iter().map(|number| self.partition(number)).collect())))
            }
        }
    }

    /// Waits until there are messages or something else to tell, and takes the messages that are there. There is no
    /// waiting once the first is taken, so dropping this half-way drops none.
    async fn receive(&mut self) -> Vec<Incoming> {
        let Some(consumer) = &self.consumer else { return Vec::new() };
        let mut stream = consumer.stream();
        let mut messages = Vec::new();
        let mut bytes = 0;
        let ended = poll_fn(|context| {
            while messages.len() < MAX_MESSAGES && bytes < MAX_BYTES && !consumer.context().has_changes() {
                match stream.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(message))) => {
                        let Some(progress) = self.owned.get_mut(&message.partition()) else { continue };
                        if progress.received.is_some_and(|received| message.offset() <= received) {
                            return Poll::Ready(Some(Ended::Anew(message.partition())));
                        }
                        progress.begin.get_or_insert(message.offset());
                        progress.received = Some(message.offset());
                        let message = own(&message, &self.topic, &mut self.buffer);
                        bytes += size(&message);
                        messages.push(message);
                    }
                    Poll::Ready(Some(Err(error))) if is_passing(&error) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Ended::Failed(error))),
                    Poll::Ready(None) => return Poll::Ready(Some(Ended::Failed(KafkaError::Canceled))),
                    Poll::Pending if messages.is_empty() && !consumer.context().has_changes() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(None)
        })
        .await;
        drop(stream);
        self.held_back = ended.map(|ended| match ended {
            Ended::Failed(error) => self.judge(error),
            Ended::Anew(number) => self.begun_anew(number),
        });
        messages
    }

    /// The topic was deleted and made again, or its log was cut off. What is committed of it counts no longer.
    fn begun_anew(&mut self, number: i32) -> Error {
        let what = format!("kafka: the offsets of {} have gone back; reading it anew", self.partition(number));
        self.forget_committed();
        self.dead = Some((ErrorKind::Unavailable, what.clone()));
        Error::new(ErrorKind::Unavailable, what)
    }

    /// Leaving commits once more what was done; in a topic that was made anew, that many messages would be passed over.
    fn forget_committed(&mut self) {
        let mut none = TopicPartitionList::with_capacity(self.owned.len());
        let mut stored = Ok(());
        for (number, progress) in &mut self.owned {
            progress.committed = None;
            stored = stored.and(none.add_partition_offset(&self.topic, *number, Offset::Invalid));
        }
        if let Some(consumer) = self.consumer.as_ref().filter(|_| none.count() > 0) {
            stored = stored.and(consumer.store_offsets(&none));
        }
        if let Err(error) = stored {
            tracing::debug!(%error, "kafka: what was done cannot be taken back");
        }
    }

    fn judge(&mut self, error: KafkaError) -> Error {
        let complaint = self.consumer.as_ref().and_then(|consumer| consumer.context().last_complaint());
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return unreachable(&self.brokers, complaint.as_ref(), error);
        }
        // One of several brokers has not heard of a new topic, be it one that was asked where its partitions begin; or
        // the topic was deleted. The client says so once, and may then be silent for minutes; whether the topic is there
        // is asked when somebody subscribes again.
        let is_unheard = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition)
        );
        let is_dead = is_unheard || matches!(error, KafkaError::MessageConsumptionFatal(_) | KafkaError::Canceled);
        let reason = complaint.map(|complaint| format!(" ({})", complaint.reason)).unwrap_or_default();
        let what = format!("kafka: cannot read topic {:?}{reason}", self.topic);
        let error = match error.rdkafka_error_code() {
            // The broker's answer does not fit: nothing that one message could be blamed for.
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let what = format!("{what}; raise kafka.properties.receive.message.max.bytes");
                Error::new(ErrorKind::Configuration, what).with_source(error)
            }
            Some(_) if is_unheard => Error::new(ErrorKind::Unavailable, what).with_source(error),
            Some(_) | None => translate(what, error),
        };
        if is_unheard {
            self.forget_committed();
        }
        if is_dead {
            self.dead = Some((error.kind(), error.to_string()));
        }
        error
    }

    fn list(&self, partition: &Partition) -> Result<TopicPartitionList, Error> {
        if partition.topic != self.topic || !self.owned.contains_key(&partition.number) {
            return Err(Error::new(ErrorKind::Internal, format!("kafka: {partition} is not this consumer's")));
        }
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, partition.number);
        Ok(list)
    }

    fn add(&self, list: &mut TopicPartitionList, number: i32, next: i64) -> Result<(), Error> {
        let added = list.add_partition_offset(&self.topic, number, Offset::Offset(next));
        added.map_err(|error| translate(format!("kafka: {next} is no offset"), error))
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self) -> Result<Polled, Error> {
        loop {
            if let Some(polled) = self.tell_change()? {
                return Ok(polled);
            }
            if let Some(error) = self.held_back.take() {
                return Err(error);
            }
            if let Some((kind, what)) = &self.dead {
                return Err(Error::new(*kind, what.clone()));
            }
            let messages = self.receive().await;
            if !messages.is_empty() {
                return Ok(Polled::Messages(messages));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.dead.is_some()
    }

    fn pause(&mut self, partition: &Partition) -> Result<(), Error> {
        let list = self.list(partition)?;
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer.pause(&list).map_err(|error| translate(format!("kafka: cannot pause {partition}"), error))
    }

    fn resume(&mut self, partition: &Partition) -> Result<(), Error> {
        let list = self.list(partition)?;
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer.resume(&list).map_err(|error| translate(format!("kafka: cannot resume {partition}"), error))
    }

    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error> {
        let is_ours = |done: &&OffsetCommit| {
            done.partition.topic == self.topic && self.owned.contains_key(&done.partition.number)
        };
        if let Some(lost) = done.iter().find(|done| !is_ours(done)) {
            let what = format!("kafka: {} is no longer this consumer's", lost.partition);
            return Err(Error::new(ErrorKind::Fenced, what));
        }
        if self.dead.is_some() {
            // The offsets may be those of a topic that is no more. Not committed, messages only come again.
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(done.len());
        for OffsetCommit { partition, next } in done {
            let Some(progress) = self.owned.get_mut(&partition.number) else { continue };
            if Some(*next) > progress.committed.max(progress.begin) {
                progress.committed = Some(*next);
                self.add(&mut list, partition.number, *next)?;
            }
        }
        let Some(consumer) = self.consumer.as_ref().filter(|_| list.count() > 0) else { return Ok(()) };
        consumer.store_offsets(&list).map_err(|error| translate("kafka: cannot commit offsets", error))
    }

    async fn close(mut self: Box<Self>) -> Result<(), Error> {
        let mut list = TopicPartitionList::with_capacity(self.owned.len());
        for (number, progress) in &self.owned {
            if let Some(committed) = progress.committed {
                self.add(&mut list, *number, committed)?;
            }
        }
        let Some(consumer) = self.consumer.take() else { return Ok(()) };
        // The client has been seen to wait for ever: not even the end of the process, or of its runtime, is to wait for it.
        let closing = off_thread(move |_| {
            // Once more, and waited for: an earlier one may have been lost.
            let committed = if list.count() == 0 { Ok(()) } else { consumer.commit(&list, CommitMode::Sync) };
            consumer.context().close(&consumer);
            drop(consumer);
            committed.map_err(|error| lost("the last commit may be lost").with_source(error))
        });
        let silence = |_| Err(lost("no answer from the brokers; the last commit may be lost"));
        tokio::time::timeout(PATIENCE, closing).await.unwrap_or_else(silence)
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.context().close(&consumer);
            aside(move || drop(consumer));
        }
    }
}

fn lost(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("kafka: closing the consumer: {what}"))
}

/// What concerns one broker of several, or nothing at all: librdkafka goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(error, KafkaError::PartitionEOF(_))
        || matches!(code, Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve))
}

/// The message in memory of our own.
fn own(message: &BorrowedMessage<'_>, topic: &Arc<str>, buffer: &mut BytesMut) -> Incoming {
    Incoming {
        partition: Partition { topic: Arc::clone(topic), number: message.partition() },
        offset: message.offset(),
        key: message.key().map(|key| copy(key, buffer)),
        value: message.payload().map(|value| copy(value, buffer)),
        headers: message.headers().map(|headers| own_headers(headers, buffer)).unwrap_or_default(),
    }
}

fn own_headers(headers: &impl Headers, buffer: &mut BytesMut) -> Vec<(String, Bytes)> {
    // The client panics at a header whose name is not UTF-8, and anyone may write one. It is left out.
    let readable = |place| catch_unwind(AssertUnwindSafe(|| headers.try_get(place))).ok().flatten();
    (0..headers.count())
        .filter_map(readable)
        .map(|header| (header.key.to_owned(), copy(header.value.unwrap_or_default(), buffer)))
        .collect()
}

fn copy(bytes: &[u8], buffer: &mut BytesMut) -> Bytes {
    if bytes.len() > buffer.capacity() {
        // What is left of the old buffer belongs to the messages in it.
        *buffer = BytesMut::with_capacity(BUFFER.max(bytes.len()));
    }
    buffer.extend_from_slice(bytes);
    buffer.split().freeze()
}

fn size(message: &Incoming) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    length(&message.key) + length(&message.value) + headers
}
