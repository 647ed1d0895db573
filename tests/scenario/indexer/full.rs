//! An index that takes little at a time.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::adapter::memory::MemorySink;
use sync_core::indexer::Indexer;
use sync_core::port::{History, Outcome, Sink, Stored, Write};
use sync_core::{Error, ErrorKind};

use super::{Bench, TOPIC};

/// Documents it takes in one request.
const ROOM: usize = 3;

/// Says that it is full when it is asked to take more.
#[derive(Debug)]
struct Narrow(MemorySink);

#[async_trait]
impl Sink for Narrow {
    async fn prepare(&self) -> Result<(), Error> {
        self.0.prepare().await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        if writes.len() > ROOM {
            return Err(Error::new(ErrorKind::Unavailable, "the queue is full"));
        }
        self.0.apply(writes).await
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        self.0.fetch(keys).await
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        self.0.history().await
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        self.0.record(history).await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.0.count().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_full_is_given_less_at_a_time_until_it_takes_it() {
    let bench = Bench::new(1);
    for number in 0..200 {
        bench.put(&format!("k{number}"), "{}").await;
    }
    let (bus, index) = (bench.bus.subscriber("search", TOPIC), Narrow(bench.index.clone()));
    let database = Arc::new(bench.database.clone());
    let indexer = Indexer::builder(Arc::new(bus), database, Arc::new(index), bench.parking()).build();
    bench.beside(&indexer, bench.until_done()).await;
    let counts = indexer.progress().counts();
    assert_eq!((counts.applied, counts.retried, counts.parked), (200, 0, 0));
    bench.assert_equal().await;
}
