//! The reading end of the bus in bad weather.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::Error;
use sync_core::port::{Consumer, OffsetCommit, Partition, PartitionLag, Polled, Subscriber};
use tokio::time::sleep;

use super::broken::Broken;
use super::weather::{Weather, unavailable};

/// How long a commit stays with the consumer, when nothing else happens.
const COMMIT_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub struct StormySubscriber {
    pub inner: Arc<dyn Subscriber>,
    pub weather: Weather,
    pub broken: Broken,
}

#[async_trait]
impl Subscriber for StormySubscriber {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        let inner = self.weather.call(self.inner.subscribe()).await?;
        let weather = self.weather.place();
        Ok(Box::new(StormyConsumer { inner, weather, broken: self.broken, held: Vec::new() }))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        self.inner.lag().await
    }
}

/// Commits are not durable at once: a consumer that dies, or loses the partition, takes them with it. What it refuses
/// it makes again by itself.
#[derive(Debug)]
struct StormyConsumer {
    inner: Box<dyn Consumer>,
    weather: Weather,
    broken: Broken,
    held: Vec<OffsetCommit>,
}

impl StormyConsumer {
    fn flush(&mut self) -> Result<(), Error> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() { Ok(()) } else { self.inner.commit(&held) }
    }
}

#[async_trait]
impl Consumer for StormyConsumer {
    fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    async fn poll(&mut self) -> Result<Polled, Error> {
        let fate = self.weather.draw();
        fate.before.rest().await;
        if fate.refused {
            return Err(unavailable("polling failed"));
        }
        // What a poll gives out is gone from the bus's point of view, so nothing may fail or wait behind it.
        let polled = loop {
            tokio::select! {
                biased;
                polled = self.inner.poll() => break polled?,
                () = sleep(COMMIT_INTERVAL), if !self.held.is_empty() => self.flush()?,
            }
        };
        match &polled {
            Polled::Revoked(lost) => self.held.retain(|commit| !lost.contains(&commit.partition)),
            Polled::Messages(messages) if self.broken == Broken::EarlyCommits => {
                let done = |message: &sync_core::port::Incoming| OffsetCommit {
                    partition: message.partition.clone(),
                    next: message.offset + 1,
                };
                self.inner.commit(&messages.iter().map(done).collect::<Vec<_>>())?;
            }
            Polled::Messages(_) | Polled::Assigned(_) => {}
        }
        Ok(polled)
    }

    fn pause(&mut self, partition: &Partition) -> Result<(), Error> {
        self.inner.pause(partition)
    }

    fn resume(&mut self, partition: &Partition) -> Result<(), Error> {
        self.inner.resume(partition)
    }

    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error> {
        let mut fate = self.weather.draw();
        self.held.extend_from_slice(done);
        if fate.refused {
            return Err(unavailable("not committed yet"));
        }
        if fate.dice.roll(2) == 0 { self.flush() } else { Ok(()) }
    }

    async fn close(mut self: Box<Self>) -> Result<(), Error> {
        let fate = self.weather.draw();
        fate.before.rest().await;
        if fate.refused {
            return Err(unavailable("commits were lost"));
        }
        self.flush()?;
        self.inner.close().await
    }
}
