//! Writes an event in the application's own transaction, and reads the outbox as a relay does.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 02_emit`, a role that may create a database.

use std::error::Error;

use sync_core::adapter::postgres::{Emit, Postgres, PostgresConfig, PostgresSource, SourceConfig, emit, migrate};
use sync_core::port::Source;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::var("SYNC__POSTGRES__URL")?;
    let name = format!("example-{}", uuid::Uuid::new_v4().simple());
    let database = |url: String| Postgres::new(&PostgresConfig::new(url));
    database(server.clone())?.client().await?.batch_execute(&format!("create database \"{name}\"")).await?;
    let url = server.rsplit_once('/').map_or(server.as_str(), |(server, _)| server);
    let database = database(format!("{url}/{name}"))?;

    let mut client = database.client().await?;
    migrate(&mut client).await?;

    // Commit: both the rows and the events. Roll back: neither.
    for (key, commit) in [("job-1", true), ("job-2", false), ("job-1", true)] {
        let transaction = client.transaction().await?;
        emit(&*transaction, &Emit::index("jobs", key)).await?;
        if commit { transaction.commit().await? } else { transaction.rollback().await? }
    }

    let source = PostgresSource::new(database, SourceConfig::default());
    let mut feed = source.open().await?;
    while let Some(batch) = feed.reader.next().await? {
        for event in &batch.events {
            println!("{} {} {}", event.topic, event.action.as_str(), event.key);
        }
        feed.cursor.advance(&batch.position).await?;
    }
    println!("behind: {} events", source.lag().await?.events);
    Ok(())
}
