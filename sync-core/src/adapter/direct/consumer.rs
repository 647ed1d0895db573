//! The one consumer of a direct topic.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::topic::Topic;
use crate::error::{Error, ErrorKind};
use crate::port::{Consumer, OffsetCommit, Partition, Polled};

#[derive(Debug)]
pub(super) struct DirectConsumer {
    topic: Arc<Topic>,
    is_assigned: bool,
    paused: BTreeSet<i32>,
}

impl DirectConsumer {
    pub(super) fn join(topic: Arc<Topic>) -> Result<Self, Error> {
        topic.join()?;
        Ok(Self { topic, is_assigned: false, paused: BTreeSet::new() })
    }

    fn own(&self, partition: &Partition) -> Result<(), Error> {
        if self.topic.has(partition) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, format!("direct bus: {partition} is not this consumer's")))
    }
}

#[async_trait]
impl Consumer for DirectConsumer {
    async fn poll(&mut self) -> Result<Polled, Error> {
        if !self.is_assigned {
            self.is_assigned = true;
            let partitions = (0..self.topic.partitions).map(|number| self.topic.partition(number));
            return Ok(Polled::Assigned(partitions.collect()));
        }
        Ok(Polled::Messages(self.topic.when(|| self.topic.give(&self.paused)).await))
    }

    fn is_over(&self) -> bool {
        false
    }

    fn pause(&mut self, partition: &Partition) -> Result<(), Error> {
        self.own(partition)?;
        self.paused.insert(partition.number);
        Ok(())
    }

    fn resume(&mut self, partition: &Partition) -> Result<(), Error> {
        self.own(partition)?;
        self.paused.remove(&partition.number);
        Ok(())
    }

    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error> {
        self.topic.commit(done)
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for DirectConsumer {
    fn drop(&mut self) {
        self.topic.leave();
    }
}
