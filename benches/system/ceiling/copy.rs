//! Reading: every event once, in no order, in PostgreSQL's own binary format.

use std::pin::pin;
use std::time::Instant;

use clap::Args;
use futures::TryStreamExt;
use tokio_postgres::NoTls;

use crate::Outcome;
use crate::figures::Figures;

/// Reads all events of a database.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The database.
    #[arg(long)]
    url: String,
    /// How many there are.
    #[arg(long)]
    events: u64,
}

impl Copy {
    pub(super) async fn run(&self) -> Outcome<Figures> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        let began = Instant::now();
        let copy = "copy (select id, topic, key, version, action, payload::text, headers::text, created_at
                            from outbox.events) to stdout (format binary)";
        let mut rows = pin!(client.copy_out(copy).await?);
        let mut bytes = 0;
        while let Some(chunk) = rows.try_next().await? {
            bytes += chunk.len();
        }
        if (bytes as u64) < self.events {
            return Err(format!("only {bytes} bytes came of {} events", self.events).into());
        }
        Ok(Figures::rate(self.events, began.elapsed().as_secs_f64()))
    }
}
