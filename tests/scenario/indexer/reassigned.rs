//! A partition that is taken away and given back at once, while a batch of it is ending.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sync_core::Error;
use sync_core::adapter::memory::{ManualClock, MemoryDatabase, MemoryDeadLetters, MemorySink};
use sync_core::indexer::{Indexer, Parking};
use sync_core::port::{Consumer, Incoming, OffsetCommit, Partition, PartitionLag, Polled, Sink, Subscriber};
use sync_core::testkit::faults::{Fault, Faulty, Hold, Script};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "jobs";

/// The group as this one member sees it: it is given a partition, loses it when the first batch has reached the index,
/// and has it back with nothing in between.
#[derive(Clone, Debug)]
struct Group {
    index: MemorySink,
    told: Arc<Mutex<u32>>,
    /// How much was told when each commit was made.
    commits: Arc<Mutex<Vec<u32>>>,
}

#[async_trait]
impl Subscriber for Group {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(self.clone()))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Consumer for Group {
    async fn poll(&mut self) -> Result<Polled, Error> {
        let partition = Partition { topic: TOPIC.into(), number: 0 };
        let told = *self.told.lock().unwrap();
        if told == 2 {
            while self.index.count().await? == 0 {
                tokio::task::yield_now().await;
            }
        }
        *self.told.lock().unwrap() += 1;
        let message = Incoming {
            partition: partition.clone(),
            offset: 0,
            key: Some("a".into()),
            value: None,
            headers: Vec::new(),
        };
        match told {
            0 | 3 => Ok(Polled::Assigned(vec![partition])),
            1 | 4 => Ok(Polled::Messages(vec![message])),
            2 => Ok(Polled::Revoked(vec![partition])),
            _ => std::future::pending().await,
        }
    }

    fn is_over(&self) -> bool {
        false
    }

    fn pause(&mut self, _: &Partition) -> Result<(), Error> {
        Ok(())
    }

    fn resume(&mut self, _: &Partition) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, _: &[OffsetCommit]) -> Result<(), Error> {
        self.commits.lock().unwrap().push(*self.told.lock().unwrap());
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_an_earlier_assignment_settles_nothing_of_the_next_one() {
    // Which of two things that have happened is seen first is left to chance.
    for _ in 0..200 {
        let database = MemoryDatabase::default();
        let mut transaction = database.begin(TOPIC);
        transaction.put("a", "{}");
        transaction.commit();
        let (index, writing, hold) = (MemorySink::new(), Script::default(), Hold::default());
        writing.then([Fault::Pass, Fault::Hold(hold.clone())]);
        let group = Group { index: index.clone(), told: Arc::default(), commits: Arc::default() };
        let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        let parking = Parking::new("jobs", TOPIC, Arc::new(MemoryDeadLetters::new()), clock);
        let sink = Arc::new(Faulty::new(index, writing));
        let indexer = Indexer::builder(Arc::new(group.clone()), Arc::new(database), sink, parking).build();
        let shutdown = CancellationToken::new();
        let checks = async {
            hold.reached().await;
            let commits = group.commits.lock().unwrap().clone();
            assert!(commits.iter().all(|told| *told < 3), "committed for the new assignment: {commits:?}");
            hold.release();
            shutdown.cancel();
        };
        let (outcome, ()) = tokio::join!(indexer.run(shutdown.clone()), checks);
        outcome.unwrap();
    }
}
