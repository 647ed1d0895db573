//! Which partitions are ours: librdkafka's callbacks, which run inside a poll, noted down for that poll to tell.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Complaint, Reporter, log};
use super::error::{code_of, kind_of, translate};
use crate::error::{Error, ErrorKind};

/// Something a poll has to tell.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(Vec<i32>),
    /// Ours until [`Membership::let_go`]: nobody else gets these partitions before, so commits made until then cannot
    /// overwrite those of the next owner.
    Revoked(TopicPartitionList),
    Failed(Error),
}

/// The callbacks of one consumer.
#[derive(Debug, Default)]
pub(super) struct Membership {
    reporter: Reporter,
    changes: Mutex<VecDeque<Change>>,
    /// Whether there are any, without taking the lock for every message.
    has_changes: AtomicBool,
    closing: AtomicBool,
}

impl Membership {
    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Change) {
        self.changes().push_back(change);
        self.has_changes.store(true, Ordering::Release);
    }

    pub(super) fn has_changes(&self) -> bool {
        self.has_changes.load(Ordering::Acquire)
    }

    pub(super) fn next_change(&self) -> Option<Change> {
        let mut changes = self.changes();
        let next = changes.pop_front();
        self.has_changes.store(!changes.is_empty(), Ordering::Release);
        next
    }

    pub(super) fn last_complaint(&self) -> Option<Complaint> {
        self.reporter.last()
    }

    /// From now on partitions are let go as soon as they are revoked: nobody polls any more to be told.
    pub(super) fn close(&self, consumer: &impl Consumer<Self>) {
        self.closing.store(true, Ordering::Release);
        while let Some(change) = self.next_change() {
            match change {
                Change::Revoked(partitions) => Self::let_go(consumer, &partitions),
                Change::Assigned(_) | Change::Failed(_) => {}
            }
        }
    }

    /// Answers a revocation. The group waits for it.
    pub(super) fn let_go(consumer: &impl Consumer<Self>, partitions: &TopicPartitionList) {
        let answered = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "kafka: could not let go of revoked partitions");
        }
    }

    fn take(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let taken = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
        };
        match taken {
            Err(error) => self.push(Change::Failed(translate("kafka: could not take over partitions", error))),
            // The cooperative protocol also says when nothing moved.
            Ok(()) if partitions.count() == 0 => {}
            Ok(()) => self.push(Change::Assigned(numbers(partitions))),
        }
    }
}

pub(super) fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(|partition| partition.partition()).collect()
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.note(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, cause: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if cause == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.take(consumer, partitions);
        } else if partitions.count() == 0 || self.closing.load(Ordering::Acquire) {
            Self::let_go(consumer, partitions);
        } else {
            self.push(Change::Revoked(partitions.clone()));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        match code_of(&error).map_or(ErrorKind::Unavailable, kind_of) {
            // The partitions are moving; who keeps one commits again, who gets one begins at the last commit.
            ErrorKind::Fenced => tracing::debug!(%error, "kafka: a commit came too late"),
            ErrorKind::Denied => {
                let mend = "grant Read on the group";
                self.push(Change::Failed(translate(format!("kafka: may not commit offsets; {mend}"), error)));
            }
            ErrorKind::Unavailable
            | ErrorKind::Blocked
            | ErrorKind::TooLarge
            | ErrorKind::Unexplained
            | ErrorKind::Refused
            | ErrorKind::Configuration
            | ErrorKind::Contract
            | ErrorKind::History
            | ErrorKind::Internal => {
                tracing::warn!(%error, "kafka: a commit was lost; it is made again");
            }
        }
    }
}
