//! The engine inside a service that has other things to do: it ends when the service does, finishes what it has begun, and the next
//! process goes on at once, because nothing is left to run out.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 09_graceful_shutdown`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::adapter::memory::MemorySink;
use sync_core::adapter::postgres::{Postgres, SourceConfig};
use sync_core::pipeline::Pipeline;
use sync_core::port::Sink;
use sync_examples::{database_of_books, execute, projection};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Starts an engine beside whatever else a process does.
fn engine(
    name: &str,
    database: &Postgres,
    index: &MemorySink,
    shutdown: &CancellationToken,
) -> Result<JoinHandle<Result<(), sync_core::Error>>, sync_core::Error> {
    let pipeline = Pipeline::builder(database)
        .index(projection(), Arc::new(index.clone()))
        .source(SourceConfig::default().holder(name))
        .build()?;
    let shutdown = shutdown.clone();
    Ok(tokio::spawn(async move { pipeline.run(shutdown).await }))
}

async fn until_there(index: &MemorySink, documents: u64) -> Result<(), sync_core::Error> {
    while index.count().await? < documents {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (database, index) = (database_of_books().await?, MemorySink::new());
    let shutdown = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut first = engine("the first process", &database, &index, &shutdown)?;
    execute(&database, "insert into books select n::text, 'book ' || n from generate_series(1, 1000) n").await?;
    until_there(&index, 1).await?;

    // As `kill` does, in the midst of it.
    std::process::Command::new("kill").arg(std::process::id().to_string()).status()?;
    tokio::select! {
        _ = terminated.recv() => println!("SIGTERM: requests are finished, then the engine"),
        // It ends by itself only when a person has to mend something: the service does not go on without it.
        ended = &mut first => return Err(format!("the engine has ended: {:?}", ended?).into()),
    }
    shutdown.cancel();
    first.await??;
    println!("the first process has ended in order");

    let (began, second_shutdown) = (Instant::now(), CancellationToken::new());
    let second = engine("the second process", &database, &index, &second_shutdown)?;
    execute(&database, "insert into books values ('last', 'the last one')").await?;
    until_there(&index, 1001).await?;
    // The lease lasts ten seconds; it was given back.
    println!("the second went on where the first had stopped, at once: {}", began.elapsed() < Duration::from_secs(5));
    println!("{} documents", index.count().await?);
    second_shutdown.cancel();
    second.await??;
    Ok(())
}
