//! The whole way in memory: no server, the same relay and the same indexer.
//!
//! `cargo run --example 01_in_memory`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sync_core::adapter::SystemClock;
use sync_core::adapter::memory::{MemoryBus, MemoryDatabase, MemoryDeadLetters, MemorySink, MemorySource};
use sync_core::indexer::{Indexer, Parking};
use sync_core::relay::Relay;
use sync_core::repair::compare;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = MemoryDatabase::default();
    let bus = MemoryBus::new(3);
    let index = MemorySink::new();

    let mut transaction = database.begin("jobs");
    transaction.put("job-1", r#"{"title":"invoice"}"#);
    transaction.put("job-2", r#"{"title":"report"}"#);
    transaction.commit();
    let mut transaction = database.begin("jobs");
    transaction.delete("job-1");
    transaction.commit();
    let mut transaction = database.begin("jobs");
    transaction.put("job-3", r#"{"title":"never seen"}"#);
    transaction.rollback();

    let source = MemorySource::new(database.clone());
    let relay = Relay::builder("search", Arc::new(source), Arc::new(bus.clone())).build();
    let subscriber = Arc::new(bus.subscriber("indexer", "jobs"));
    let letters = Arc::new(MemoryDeadLetters::new());
    let parking = Parking::new("jobs", "jobs", letters, Arc::new(SystemClock));
    let (rows, target) = (Arc::new(database.clone()), Arc::new(index.clone()));
    let indexer = Indexer::builder(subscriber, rows, target, parking).build();

    let shutdown = CancellationToken::new();
    let until_equal = async {
        while !compare(&database, &index).await?.is_equal() || indexer.progress().counts().messages < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(relay.run(shutdown.clone()), indexer.run(shutdown.clone()), until_equal)?;

    let comparison = compare(&database, &index).await?;
    println!("{} events published", relay.progress().counts().published);
    println!("{} of {} documents equal, {} in the index", comparison.equal, comparison.documents, comparison.indexed);
    Ok(())
}
