//! Ends of the real servers that break one promise of their port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::postgres::PostgresSource;
use sync_core::port::{
    Batch, Consumer, Feed, OffsetCommit, Partition, PartitionLag, Polled, Position, Reader, Source, SourceLag,
    Subscriber,
};
use sync_core::{Action, Error, Event};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::support::postgres::connect;

/// Events in one batch.
const BATCH: i64 = 500;

/// A position that is an id: everything up to it counts as done, whatever is committed later.
#[derive(Debug)]
pub struct IdSource {
    pub inner: PostgresSource,
    pub url: String,
}

#[async_trait]
impl Source for IdSource {
    async fn open(&self) -> Result<Feed, Error> {
        let Feed { cursor, epoch, .. } = self.inner.open().await?;
        let client = connect(&self.url).await;
        let last = client.query_one("select last from outbox.subscriptions where name = 'search'", &[]).await.unwrap();
        let reader = IdReader { client, last: last.get(0) };
        Ok(Feed { reader: Box::new(reader), cursor, epoch })
    }

    async fn lag(&self) -> Result<SourceLag, Error> {
        self.inner.lag().await
    }

    async fn maintain(&self) -> Result<(), Error> {
        self.inner.maintain().await
    }
}

#[derive(Debug)]
struct IdReader {
    client: Client,
    last: i64,
}

#[async_trait]
impl Reader for IdReader {
    async fn next(&mut self) -> Result<Option<Batch>, Error> {
        let sql = "select id, topic, key, version, action from outbox.events where id > $1 order by id limit $2";
        let rows = self.client.query(sql, &[&self.last, &BATCH]).await.unwrap();
        let event = |row: &tokio_postgres::Row| Event {
            id: row.get(0),
            topic: row.get(1),
            key: row.get(2),
            version: row.get(3),
            action: Action::parse(row.get(4)).unwrap(),
            payload: None,
            headers: Vec::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let events: Vec<_> = rows.iter().map(event).collect();
        let Some(newest) = events.last() else { return Ok(None) };
        self.last = newest.id;
        let position = Position { lo: "1:1:".to_owned(), hi: None, last: self.last };
        Ok(Some(Batch { events, withheld: Vec::new(), position, mark: None }))
    }

    async fn wait(&mut self) -> Result<(), Error> {
        sleep(Duration::from_millis(5)).await;
        Ok(())
    }
}

/// Offsets are committed when messages are given out.
#[derive(Debug)]
pub struct EarlyCommits(pub Arc<dyn Subscriber>);

#[async_trait]
impl Subscriber for EarlyCommits {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(EarlyConsumer(self.0.subscribe().await?)))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        self.0.lag().await
    }
}

#[derive(Debug)]
struct EarlyConsumer(Box<dyn Consumer>);

#[async_trait]
impl Consumer for EarlyConsumer {
    async fn poll(&mut self) -> Result<Polled, Error> {
        let polled = self.0.poll().await?;
        if let Polled::Messages(messages) = &polled {
            for message in messages {
                let partition = message.partition.clone();
                self.0.commit(&[OffsetCommit { partition, next: message.offset + 1 }])?;
            }
        }
        Ok(polled)
    }

    fn is_over(&self) -> bool {
        self.0.is_over()
    }

    fn pause(&mut self, partition: &Partition) -> Result<(), Error> {
        self.0.pause(partition)
    }

    fn resume(&mut self, partition: &Partition) -> Result<(), Error> {
        self.0.resume(partition)
    }

    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error> {
        self.0.commit(done)
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        self.0.close().await
    }
}
