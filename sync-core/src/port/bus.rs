//! What carries messages from the relay to the indexer, in order per key.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Error;
use crate::event::Outgoing;

/// Resolves when every message of one batch is stored for good, or with the first error. On a bus that
/// [does not store](Publisher), when all of them are committed.
///
/// After an error it is unknown which messages of that batch, or of any later one, were stored. Dropping it does not
/// take the messages back, and they go on their way whether it is polled or not.
///
/// # Errors
/// `Unavailable`, `Denied`. Never `Refused` or `TooLarge`: those [`publish`](Publisher::publish) says, which alone tells the
/// message at fault from those that are in flight beside it.
pub type Acknowledgement = BoxFuture<'static, Result<(), Error>>;

/// Takes messages in order. They arrive as they are: key, value and headers byte for byte, an empty value told from none.
///
/// There are two kinds of bus. One stores: it keeps messages while nobody reads, and acknowledges those it has. The other does
/// not: it acknowledges what its consumer has committed. When that consumer goes away, the rest is dropped, and the
/// acknowledgements of that fail with `Unavailable`. Of either kind, whoever is told `Unavailable` publishes again.
#[async_trait]
pub trait Publisher: Debug + Send + Sync + 'static {
    /// Hands over a batch; messages of one key are stored in the order handed over, across batches too, as long as
    /// no acknowledgement failed. Waits while the bus is full. An outage delays the acknowledgement, it does not fail
    /// it. On a bus that stores, nothing is stored behind a failed batch before the caller was told: by an
    /// acknowledgement, or by the next call, which then fails with the same error.
    ///
    /// A batch may be of several topics, of any size, or empty: then its acknowledgement resolves, too.
    ///
    /// Not to be called by two callers at the same time. May be called again after an error. Dropped half-way, some of the
    /// batch may be handed over.
    ///
    /// # Errors
    /// `Configuration` when a topic does not exist and may not be created; `Denied`; `Refused`, or `TooLarge`, when one message
    /// can never be stored, naming it: nothing of the batch was handed over then; `Unavailable`. After the others it is unknown
    /// what was stored, as after an acknowledgement that failed.
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error>;
}

/// A numbered part of a topic. All messages of one key are in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<str>,
    /// From zero.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// A message as a consumer gets it. Nothing about it can be trusted: anyone may write to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Where it was.
    pub partition: Partition,
    /// Its place there; grows, with gaps. It never goes back while the partition is one consumer's: where a topic is made anew,
    /// the consumer [is over](Consumer::is_over).
    pub offset: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value, if it has one.
    pub value: Option<Bytes>,
    /// Name and value, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// All messages of `partition` below `next` are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The partition.
    pub partition: Partition,
    /// The first offset that is not done.
    pub next: i64,
}

/// How far a subscriber is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: Partition,
    /// The first offset not done; `None` before the first commit.
    pub committed: Option<i64>,
    /// Messages between there and the end. Transaction markers may count as messages.
    pub behind: u64,
    /// When the first of them was written, as its standard value says, or came onto the bus; `None` when there is none, when
    /// it could not be found, and of a bus that does not tell.
    pub oldest: Option<Timestamp>,
}

/// What a consumer learns from one poll, each thing once. Whoever polls handles all of them, so there will be no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Messages, at least one, in order per partition. Each is of a partition that was [assigned](Self::Assigned) before and
    /// not revoked since: any other is `Internal`, and ends the indexer.
    Messages(Vec<Incoming>),
    /// These partitions are this consumer's now beside those it has, from their committed offsets on; from the beginning before
    /// the first commit. None of them is paused.
    Assigned(Vec<Partition>),
    /// These of its partitions are somebody else's now: what is in flight for them must not be committed. The others stay.
    Revoked(Vec<Partition>),
}

/// Gives out messages to the members of one group.
#[async_trait]
pub trait Subscriber: Debug + Send + Sync + 'static {
    /// Joins the group: one member more with each call. May be called again after an error. Dropped half-way, nobody has
    /// joined, or whoever has leaves again as a [consumer](Consumer) does that is dropped.
    ///
    /// # Errors
    /// `Configuration` when the topic does not exist and may not be created; `Denied`; `Unavailable`, also of a bus that does
    /// not share partitions, while the one consumer it has is neither closed nor dropped.
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error>;

    /// How far the group is behind in each partition of the topic, in the order of their numbers. Joins nothing. Asked at any
    /// time, by several at once; dropped half-way, nothing happened.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn lag(&self) -> Result<Vec<PartitionLag>, Error>;
}

/// One member of a group. Dropped without [`close`](Self::close) it leaves as well, at the latest when the bus misses it: what
/// it has not committed comes again.
#[async_trait]
pub trait Consumer: Debug + Send {
    /// Waits for messages or for a change of assignment. Must be called again and again, paused or not: that is what
    /// keeps the membership. Dropping it half-way loses nothing.
    ///
    /// # Errors
    /// `Denied`, `Configuration`, `Unavailable`; the consumer may be polled again unless it [is over](Self::is_over).
    async fn poll(&mut self) -> Result<Polled, Error>;

    /// Whether it will never receive anything again, so that only subscribing anew helps. `poll` said why.
    fn is_over(&self) -> bool;

    /// Gives out no further messages of `partition` until it is resumed, or revoked. Messages polled already stay polled. May
    /// be repeated.
    ///
    /// # Errors
    /// `Internal` when the partition is not this consumer's.
    fn pause(&mut self, partition: &Partition) -> Result<(), Error>;

    /// Undoes [`pause`](Self::pause). May be repeated.
    ///
    /// # Errors
    /// `Internal` when the partition is not this consumer's.
    fn resume(&mut self, partition: &Partition) -> Result<(), Error>;

    /// Records what is done. Never goes back: less than was committed before changes nothing. May be repeated, and be of
    /// nothing. It returns before the record is durable; a consumer that dies before it is sees those messages again.
    ///
    /// # Errors
    /// `Fenced` when a partition is no longer this consumer's: nothing was recorded; `Unavailable`: it is unknown, and the next
    /// commit says the same and more.
    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error>;

    /// Makes the commits durable and leaves the group, so that the others need not wait for a time-out. Called also after
    /// `poll` has failed. The indexer waits four seconds for it; dropped half-way, it is as after an error.
    ///
    /// # Errors
    /// `Unavailable`: commits may be lost, messages then come again.
    async fn close(self: Box<Self>) -> Result<(), Error>;
}
