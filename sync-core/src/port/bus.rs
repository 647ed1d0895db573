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

/// Resolves when every message of one batch is stored for good, or with the first error.
///
/// After an error it is unknown which messages of that batch, or of any later one, were stored. Dropping it does not
/// take the messages back.
pub type Acknowledgement = BoxFuture<'static, Result<(), Error>>;

/// Takes messages in order.
#[async_trait]
pub trait Publisher: Debug + Send + Sync + 'static {
    /// Hands over a batch; messages of one key are stored in the order handed over, across batches too, as long as
    /// no acknowledgement failed. Waits while the bus is full. An outage delays the acknowledgement, it does not fail
    /// it. On a bus that stores, nothing is stored behind a failed batch before the caller was told: by an
    /// acknowledgement, or by the next call, which then fails with the same error.
    ///
    /// Not to be called by two callers at the same time. Dropped half-way, some of the batch may be handed over.
    ///
    /// # Errors
    /// `Configuration` when a topic does not exist and may not be created; `Denied`; `Refused` when one message can
    /// never be stored (too large), naming it: nothing of the batch was handed over then; `Unavailable`.
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
    /// Its place there; grows, with gaps.
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

/// What a consumer learns from one poll. Whoever polls handles all of them, so there will be no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Messages, in order per partition.
    Messages(Vec<Incoming>),
    /// These partitions are this consumer's now, from their committed offsets on.
    Assigned(Vec<Partition>),
    /// These partitions are somebody else's now: what is in flight for them must not be committed.
    Revoked(Vec<Partition>),
}

/// Gives out messages to the members of one group.
#[async_trait]
pub trait Subscriber: Debug + Send + Sync + 'static {
    /// Joins the group.
    ///
    /// # Errors
    /// `Configuration` when the topic does not exist and may not be created; `Denied`; `Unavailable`.
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error>;

    /// How far the group is behind, partition by partition. Joins nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn lag(&self) -> Result<Vec<PartitionLag>, Error>;
}

/// One member of a group.
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

    /// Gives out no further messages of `partition` until it is resumed. Messages polled already stay polled.
    ///
    /// # Errors
    /// `Internal` when the partition is not this consumer's.
    fn pause(&mut self, partition: &Partition) -> Result<(), Error>;

    /// Undoes [`pause`](Self::pause).
    ///
    /// # Errors
    /// `Internal` when the partition is not this consumer's.
    fn resume(&mut self, partition: &Partition) -> Result<(), Error>;

    /// Records what is done. Never goes back; may be repeated. It returns before the record is durable; a consumer
    /// that dies before it is sees those messages again.
    ///
    /// # Errors
    /// `Fenced` when a partition is no longer this consumer's; `Unavailable`.
    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error>;

    /// Makes the commits durable and leaves the group, so that the others need not wait for a time-out.
    ///
    /// # Errors
    /// `Unavailable`: commits may be lost, messages then come again.
    async fn close(self: Box<Self>) -> Result<(), Error>;
}
