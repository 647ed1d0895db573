//! A membership that is over by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::indexer::Indexer;
use sync_core::port::{Consumer, OffsetCommit, Partition, PartitionLag, Polled, Subscriber};
use sync_core::{Error, ErrorKind};
use tokio::time::Instant;

use super::{Bench, TOPIC};

/// Its first member never receives anything.
#[derive(Debug)]
struct FirstIsOver {
    others: Arc<dyn Subscriber>,
    is_first: AtomicBool,
}

#[async_trait]
impl Subscriber for FirstIsOver {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        if self.is_first.swap(false, Ordering::SeqCst) { Ok(Box::new(Over)) } else { self.others.subscribe().await }
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        self.others.lag().await
    }
}

#[derive(Debug)]
struct Over;

#[async_trait]
impl Consumer for Over {
    async fn poll(&mut self) -> Result<Polled, Error> {
        Err(Error::new(ErrorKind::Unavailable, "the topic is not known here"))
    }

    fn is_over(&self) -> bool {
        true
    }

    fn pause(&mut self, _: &Partition) -> Result<(), Error> {
        Ok(())
    }

    fn resume(&mut self, _: &Partition) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, _: &[OffsetCommit]) -> Result<(), Error> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_will_never_receive_anything_is_replaced_at_once() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    let others: Arc<dyn Subscriber> = Arc::new(bench.bus.subscriber("search", TOPIC));
    let subscriber = Arc::new(FirstIsOver { others, is_first: AtomicBool::new(true) });
    let (database, index) = (Arc::new(bench.database.clone()), Arc::new(bench.index.clone()));
    let indexer = Indexer::builder(subscriber, database, index, bench.parking()).build();
    let began = Instant::now();
    bench.beside(&indexer, bench.until_done()).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    bench.assert_equal().await;
}
