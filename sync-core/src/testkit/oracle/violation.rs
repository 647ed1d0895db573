//! Every way in which a promise can be broken.

use std::collections::BTreeSet;
use std::fmt;

use crate::port::Origin;
use crate::version::Version;

/// A key of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// The topic, which also stands for the index it feeds.
    pub topic: String,
    /// The key.
    pub key: String,
}

impl Entity {
    pub(super) fn new(topic: &str, key: &str) -> Self {
        Self { topic: topic.to_owned(), key: key.to_owned() }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.key)
    }
}

/// A promise that was broken. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A committed event is not on the bus.
    #[error("{entity}: event {id} was committed and is not on the bus")]
    Lost {
        /// Whose.
        entity: Entity,
        /// Which.
        id: i64,
    },
    /// A message of no committed event of its key.
    #[error("{}: a message with key {key:?} and id {id:?}, which nobody committed", place(origin))]
    Invented {
        /// Where it lies.
        origin: Origin,
        /// Its key, if it has one that is text.
        key: Option<String>,
        /// Its event, if it names one.
        id: Option<i64>,
    },
    /// The first occurrence of an event lies behind the first of one that was committed after it.
    #[error("{entity}: event {id} comes first after event {after}, which was committed later")]
    OutOfOrder {
        /// Whose.
        entity: Entity,
        /// The one that is late.
        id: i64,
        /// The one that overtook it.
        after: i64,
    },
    /// An event is there more than once, where once was promised.
    #[error("{entity}: event {id} is on the bus {times} times")]
    Repeated {
        /// Whose.
        entity: Entity,
        /// Which.
        id: i64,
        /// How often it is there.
        times: u64,
    },
    /// Messages of one key lie in more than one partition.
    #[error("{entity}: its messages lie in partitions {partitions:?}")]
    TwoPartitions {
        /// Whose.
        entity: Entity,
        /// Where.
        partitions: BTreeSet<i32>,
    },
    /// The index does not have a document that the database has.
    #[error("{entity}: the index has no document, the database has version {version}")]
    Missing {
        /// Whose.
        entity: Entity,
        /// The row's version.
        version: Version,
    },
    /// The index has an older version than the database.
    #[error("{entity}: the index has version {indexed}, the database {row}")]
    Stale {
        /// Whose.
        entity: Entity,
        /// What the index has.
        indexed: Version,
        /// What the database has.
        row: Version,
    },
    /// The index has a version the database never came to.
    #[error("{entity}: the index has version {indexed}, the database only {row}")]
    Ahead {
        /// Whose.
        entity: Entity,
        /// What the index has.
        indexed: Version,
        /// What the database has.
        row: Version,
    },
    /// The index has a document of a key that is deleted, or never was.
    #[error("{entity}: the index has version {version} of what is not in the database")]
    Orphan {
        /// Whose.
        entity: Entity,
        /// What the index has.
        version: Version,
    },
    /// The version is right, the document is not.
    #[error("{entity}: version {version} is {indexed} in the index and {row} in the database")]
    Content {
        /// Whose.
        entity: Entity,
        /// Of both.
        version: Version,
        /// The index's document.
        indexed: String,
        /// The database's.
        row: String,
    },
    /// The index has more or fewer documents than those that were found by their keys.
    #[error("{topic}: the index counts {counted} documents, {told} were found by key")]
    Uncounted {
        /// The topic.
        topic: String,
        /// What the index says.
        counted: u64,
        /// What was told.
        told: u64,
    },
    /// The index went from a newer version to an older one.
    #[error("{entity}: the index went back from version {from} to {to}")]
    VersionWentBack {
        /// Whose.
        entity: Entity,
        /// The newest seen before.
        from: Version,
        /// What was seen after it.
        to: Version,
    },
    /// A subscription's position was moved back.
    #[error("the position of {subscription:?} went back from {from:?} to {to:?}")]
    PositionWentBack {
        /// The subscription.
        subscription: String,
        /// The furthest before.
        from: (u64, i64),
        /// What was recorded after it.
        to: (u64, i64),
    },
    /// Something was parked that never was refused.
    #[error("{}: a letter about key {key:?}, which was never refused", place(origin))]
    UnexpectedLetter {
        /// Where it came from.
        origin: Origin,
        /// About whom.
        key: Option<String>,
    },
    /// Something that can never be applied was not parked.
    #[error("{}: poison without a letter", place(origin))]
    MissingLetter {
        /// Where it lies.
        origin: Origin,
    },
}

fn place(origin: &Origin) -> String {
    format!("{}/{} offset {}", origin.topic, origin.partition, origin.offset)
}
