//! Where committed events come from.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;
use crate::event::Event;
use crate::port::ledger::Mark;

/// A place in a source's stream of committed events.
///
/// Whoever reads a source hands it from the [`Reader`] to the [`Cursor`] as it is, and looks at nothing in it. All that is
/// wanted of it: once it is recorded, the next feed begins behind the batch it came with, and so behind every batch read
/// before that.
///
/// What the fields say is between a source's own two ends. In those of this crate, everything the snapshot `lo` saw is done.
/// When `hi` is there, the window `(lo, hi]` (all that `hi` sees and `lo` does not) is being read in order of event id, and its
/// events up to and including `last` are done as well. Another source may put there whatever tells the place in its own stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// All it saw is done.
    pub lo: String,
    /// The end of the window that is being read.
    pub hi: Option<String>,
    /// The last event done inside the window; `0` when there is no window.
    pub last: i64,
}

/// Some events, in order, and the position once all of them are done.
#[derive(Clone, Debug)]
pub struct Batch {
    /// At least one, except where all are withheld, or a window held nothing for this subscription: then only the
    /// position moves.
    pub events: Vec<Event>,
    /// Events among them that are too large to be given out. Whoever publishes the others puts these among the dead
    /// letters first.
    pub withheld: Vec<Withheld>,
    /// Where the subscription stands when these events are done, and all that were read before them.
    pub position: Position,
    /// The same for whoever keeps the position elsewhere. Only from a [`LedgerSource`](crate::port::LedgerSource)'s
    /// reader, and only with events, withheld ones too.
    pub mark: Option<Mark>,
}

impl Batch {
    /// Ids of the events that are withheld.
    pub(crate) fn withheld_ids(&self) -> impl Iterator<Item = i64> {
        self.withheld.iter().map(|event| event.id)
    }
}

/// A committed event whose payload is larger than its source gives out. It stays where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The event's id.
    pub id: i64,
    /// The topic it would have gone to.
    pub topic: String,
    /// The entity's key.
    pub key: String,
    /// How many bytes the payload has.
    pub bytes: u64,
    /// How many are given out, at most, and which setting says so.
    pub limit: String,
}

/// How far a subscription is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLag {
    /// Committed events it has not passed; counting stops at one million and says one million.
    pub events: u64,
    /// Age of the oldest of them, zero when there is none.
    pub age: Duration,
}

/// A durable log of committed events that one subscription at a time reads.
#[async_trait]
pub trait Source: Debug + Send + Sync + 'static {
    /// Takes the subscription's lease and reads its position again from the source itself, whatever this process
    /// remembers.
    ///
    /// May be called again after any error; the feed before it is then fenced. Dropped half-way, it may have taken
    /// the lease: that runs out by itself.
    ///
    /// # Errors
    /// `Fenced` while somebody else holds the lease; `History` when the position belongs to another database;
    /// `Unavailable`, `Denied`, `Configuration` as they are.
    async fn open(&self) -> Result<Feed, Error>;

    /// How far the subscription is behind. Needs no lease. Asked at any time, by several at once; dropped half-way, nothing
    /// happened.
    ///
    /// # Errors
    /// `Configuration`, also while there is no such subscription yet; `Unavailable`, `Denied`.
    async fn lag(&self) -> Result<SourceLag, Error>;

    /// Makes room for the events to come, and gives up that of events everybody has passed long ago. Wanted every hour or so;
    /// may be repeated, also by several at once, beside open writers. Until it is called again nothing fails; the source only
    /// gets less tidy. Dropped half-way, or after an error, a part of it may be done; the next call does the rest.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn maintain(&self) -> Result<(), Error>;
}

/// A subscription that is open: one end reads, the other records what is done. They are used at the same time.
#[derive(Debug)]
pub struct Feed {
    /// Reads events.
    pub reader: Box<dyn Reader>,
    /// Records what is done, and keeps the lease.
    pub cursor: Box<dyn Cursor>,
    /// The history the events belong to.
    pub epoch: i32,
}

/// Reads the events after the position, in order.
#[async_trait]
pub trait Reader: Debug + Send {
    /// The next events, or `None` when there is nothing new now.
    ///
    /// Per key, events come in the order their transactions committed; an event of a transaction that commits late
    /// comes after its commit, and nothing waits for it. Memory is bounded however large one transaction is.
    /// Not to be called again after an error or a drop half-way: open a new feed.
    ///
    /// # Errors
    /// `Unavailable`, `Contract`.
    async fn next(&mut self) -> Result<Option<Batch>, Error>;

    /// Returns when there may be something new; it may be wrong about that, but never sleeps through an event for
    /// longer than its poll interval. Dropping it half-way is fine.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn wait(&mut self) -> Result<(), Error>;
}

/// Records how far a subscription is done.
///
/// `renew` is called beside `advance`, and beside another `renew`. `release` comes last, when they have ended or were dropped.
#[async_trait]
pub trait Cursor: Debug + Send + Sync {
    /// Makes `position` the place where the next feed starts. Called in the order of the batches, one call at a time, though
    /// not always for each of them. May be repeated. Dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Fenced` when the lease was lost: nothing was recorded. After `Unavailable` it is unknown.
    async fn advance(&self, position: &Position) -> Result<(), Error>;

    /// Keeps the lease, from now on for as long as [`lease`](Self::lease). May be repeated. Dropped half-way, it may have been
    /// kept.
    ///
    /// # Errors
    /// `Fenced` when somebody else has it; `Unavailable`: it may have been kept. The feed is given up after either.
    async fn renew(&self) -> Result<(), Error>;

    /// Gives the lease back, so that the next one need not wait for it to run out. Somebody else's stays as it is. May be
    /// repeated. Dropped half-way, it may have been given back.
    ///
    /// # Errors
    /// `Unavailable`; the lease then runs out by itself. `Fenced` may be said when somebody else has it.
    async fn release(&self) -> Result<(), Error>;

    /// How long a lease lasts without being renewed.
    fn lease(&self) -> Duration;
}
