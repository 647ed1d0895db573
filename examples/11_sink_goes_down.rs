//! The index goes down in the midst of it: that costs delay, and nobody's tries.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 11_sink_goes_down`

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::memory::MemorySink;
use sync_core::adapter::postgres::PostgresProjection;
use sync_core::pipeline::Pipeline;
use sync_core::port::{DeadLetters, History, LetterSelection, Outcome, Sink, Stored, Write};
use sync_core::{Error, ErrorKind};
use sync_examples::{database_of_books, execute, projection, until_indexed};
use tokio_util::sync::CancellationToken;

/// An index with a switch.
#[derive(Clone, Debug, Default)]
struct Switched {
    index: MemorySink,
    is_down: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

impl Switched {
    fn is_up(&self) -> Result<(), Error> {
        if self.is_down.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "switched off"));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Switched {
    async fn prepare(&self) -> Result<(), Error> {
        self.is_up()?;
        self.index.prepare().await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        self.is_up()?;
        self.index.apply(writes).await
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        self.is_up()?;
        self.index.fetch(keys).await
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        self.is_up()?;
        self.index.history().await
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        self.is_up()?;
        self.index.record(history).await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.is_up()?;
        self.index.count().await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let (database, sink) = (database_of_books().await?, Switched::default());
    let pipeline = Pipeline::builder(&database)
        .index_of(
            "books",
            "books",
            Arc::new(PostgresProjection::new(database.clone(), projection())),
            Arc::new(sink.clone()),
        )
        .build()?;
    let shutdown = CancellationToken::new();
    let story = async {
        execute(&database, "insert into books values ('1', 'Dune'), ('2', 'Emma')").await?;
        until_indexed(&pipeline).await?;
        println!("{} documents", sink.index.count().await?);

        sink.is_down.store(true, Ordering::Relaxed);
        execute(&database, "insert into books select n::text, 'book ' || n from generate_series(3, 100) n").await?;
        while sink.refused.load(Ordering::Relaxed) < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("switched off, and asked in vain at least five times: {} documents", sink.index.count().await?);

        sink.is_down.store(false, Ordering::Relaxed);
        until_indexed(&pipeline).await?;
        println!("switched on: {} documents", sink.index.count().await?);
        println!("{} dead letters", pipeline.dead_letters().count(&LetterSelection::default()).await?.letters);
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(pipeline.run(shutdown.clone()), story)?;
    Ok(())
}
