//! The same message again, and an older one after it: the index does not go back, because it reads the row as it is and compares
//! versions.
//!
//! `cargo run --example 10_same_message_twice`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Outgoing;
use sync_core::adapter::SystemClock;
use sync_core::adapter::memory::{MemoryBus, MemoryDatabase, MemoryDeadLetters, MemorySink};
use sync_core::indexer::{Indexer, Parking};
use sync_core::port::{Publisher, Sink};
use tokio_util::sync::CancellationToken;

fn message(key: &str, version: u64) -> Outgoing {
    let value = format!(r#"{{"key":"{key}","action":"INDEX","version":{version}}}"#);
    Outgoing { topic: "jobs".to_owned(), key: key.to_owned(), value: Some(value), headers: Vec::new() }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (database, bus, index) = (MemoryDatabase::default(), MemoryBus::new(1), MemorySink::new());
    for title in ["draft", "final"] {
        let mut transaction = database.begin("jobs");
        transaction.put("job-1", &format!(r#"{{"title":"{title}"}}"#));
        transaction.commit();
    }
    let parking = Parking::new("jobs", "jobs", Arc::new(MemoryDeadLetters::new()), Arc::new(SystemClock));
    let subscriber = Arc::new(bus.subscriber("indexer", "jobs"));
    let indexer = Indexer::builder(subscriber, Arc::new(database), Arc::new(index.clone()), parking).build();

    let shutdown = CancellationToken::new();
    let story = async {
        for (count, version) in [2, 2, 1].into_iter().enumerate() {
            bus.publish(vec![message("job-1", version)]).await?.await?;
            while indexer.progress().counts().messages <= count as u64 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let counts = indexer.progress().counts();
            println!("a message of version {version}: {} applied, {} stale", counts.applied, counts.stale);
        }
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(indexer.run(shutdown.clone()), story)?;
    let held = index.fetch(&["job-1".to_owned()]).await?;
    println!("{}", held.into_iter().flatten().map(|stored| stored.document).collect::<String>());
    Ok(())
}
