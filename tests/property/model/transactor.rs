//! The bus that takes transactions, in bad weather; and some that are broken.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sync_core::adapter::memory::{MemoryBus, MemoryTransactor};
use sync_core::port::{Mark, Publisher, Transactions, Transactor};
use sync_core::{Error, ErrorKind, Outgoing};
use tokio_util::task::TaskTracker;

use super::broken::Broken;
use super::weather::{Fate, Pause, Weather, unavailable};

/// Transactions as Kafka's are: what has left the process arrives later, also when nobody is left to be told, unless
/// whoever began next has shut it out by then.
#[derive(Clone, Debug)]
pub struct StormyTransactor {
    pub bus: MemoryBus,
    pub inner: MemoryTransactor,
    pub weather: Weather,
    /// What goes on after the process is gone.
    pub late: TaskTracker,
    pub broken: Broken,
    /// All that were stored.
    pub marks: Arc<Mutex<Vec<Mark>>>,
}

#[async_trait]
impl Transactor for StormyTransactor {
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error> {
        let inner = self.weather.call(self.inner.begin(name)).await?;
        let storm = Self { weather: self.weather.place(), ..self.clone() };
        let line = Line { name: name.to_owned(), inner: Arc::new(tokio::sync::Mutex::new(inner)), storm };
        Ok(Box::new(StormyTransactions { line, is_spent: false }))
    }
}

#[derive(Debug)]
struct StormyTransactions {
    line: Line,
    /// A call failed, or was dropped half-way.
    is_spent: bool,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    inner: Arc<tokio::sync::Mutex<Box<dyn Transactions>>>,
    storm: StormyTransactor,
}

#[async_trait]
impl Transactions for StormyTransactions {
    async fn mark(&mut self) -> Result<Option<Mark>, Error> {
        let Line { inner, storm, .. } = &self.line;
        let newest = storm.weather.call(async { inner.lock().await.mark().await }).await?;
        if storm.broken == Broken::StaleMark {
            return Ok(storm.marks.lock().unwrap().iter().rev().nth(1).cloned());
        }
        Ok(newest)
    }

    async fn refusals(&mut self, messages: &[Outgoing]) -> Result<Vec<(usize, Error)>, Error> {
        let Line { inner, storm, .. } = &self.line;
        storm.weather.call(async { inner.lock().await.refusals(messages).await }).await
    }

    async fn publish(&mut self, messages: Vec<Outgoing>, mark: &Mark) -> Result<(), Error> {
        assert!(!self.is_spent, "after an error, or a drop half-way, it has to begin anew");
        self.is_spent = true;
        let storm = &self.line.storm;
        let fate = storm.weather.draw();
        fate.before.rest().await;
        let stored = storm.late.spawn(self.line.clone().store(messages, mark.clone(), fate));
        if storm.broken != Broken::EarlyAcknowledgements {
            stored.await.map_err(|error| Error::new(ErrorKind::Internal, "the request").with_source(error))??;
        }
        self.is_spent = false;
        Ok(())
    }
}

impl Line {
    /// One transaction, on the side of the bus.
    async fn store(self, mut messages: Vec<Outgoing>, mark: Mark, mut fate: Fate) -> Result<(), Error> {
        let StormyTransactor { bus, inner: transactor, broken, marks, .. } = &self.storm;
        if fate.dice.roll(8) == 7 {
            // Stuck on its way, some for longer than a lease.
            Pause::Millis(20 + fate.dice.roll(600)).rest().await;
        }
        if fate.refused {
            if *broken == Broken::VisibleAborts {
                messages.truncate(fate.dice.roll(1 + messages.len() as u64) as usize);
                bus.publish(messages).await?.await?;
            }
            return Err(unavailable("the transaction was taken back"));
        }
        if *broken == Broken::LooseMark {
            bus.publish(std::mem::take(&mut messages)).await?.await?;
            fate.after.rest().await;
            if fate.lost {
                return Err(unavailable("something between the messages and the position"));
            }
        }
        let mut stored = self.inner.lock().await.publish(messages.clone(), &mark).await;
        if *broken == Broken::NobodyShutOut && stored.is_err() {
            stored = transactor.begin(&self.name).await?.publish(messages, &mark).await;
        }
        if stored.is_ok() {
            marks.lock().unwrap().push(mark);
        }
        fate.after.rest().await;
        if fate.lost { stored.and(Err(unavailable("whether it was committed is unknown"))) } else { stored }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::testkit::conformance::transactions::{Harness, transactions};

    use super::*;

    #[tokio::test]
    async fn in_quiet_weather_the_stormy_transactor_keeps_every_promise_of_a_transactor() {
        transactions(async || {
            let bus = MemoryBus::new(3);
            let storm = StormyTransactor {
                bus: bus.clone(),
                inner: MemoryTransactor::new(bus.clone()),
                weather: Weather::new(7, 0),
                late: TaskTracker::new(),
                broken: Broken::Nothing,
                marks: Arc::default(),
            };
            Harness {
                topic: "topic".to_owned(),
                subscriber: Arc::new(bus.subscriber("group", "topic")),
                transactor: Arc::new(storm),
            }
        })
        .await;
    }
}
