//! Writes an event in the application's own transaction, and reads the outbox as a relay does.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 02_emit`, a role that may create a database.

use std::error::Error;

use sync_core::adapter::postgres::{Emit, Postgres, PostgresConfig, PostgresSource, SourceConfig, emit};
use sync_core::port::Source;
use sync_examples::fresh_database;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Postgres::new(&PostgresConfig::new(fresh_database().await?))?;
    database.migrate().await?;
    let mut client = database.client().await?;

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
