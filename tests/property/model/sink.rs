//! The index in bad weather.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sync_core::port::{History, Outcome, Sink, Stored, Write};
use sync_core::testkit::oracle::Oracle;
use sync_core::{Error, ErrorKind};
use tokio_util::task::TaskTracker;

use super::weather::{Fate, Pause, Weather, unavailable};

#[derive(Clone, Debug)]
pub struct StormySink {
    pub topic: &'static str,
    pub inner: Arc<dyn Sink>,
    pub weather: Weather,
    pub oracle: Arc<Mutex<Oracle>>,
    /// What goes on after the process is gone.
    pub late: TaskTracker,
}

impl StormySink {
    /// One request, on the side of the index.
    async fn answer(self, mut writes: Vec<Write>, mut fate: Fate) -> Result<Vec<Outcome>, Error> {
        fate.before.rest().await;
        if fate.dice.roll(8) == 7 {
            // Stuck on its way, so that many a later one is there before it.
            Pause::Millis(20 + fate.dice.roll(100)).rest().await;
        }
        if fate.refused {
            match fate.dice.roll(6) {
                0 => {
                    if let [alone] = &writes[..] {
                        self.oracle.lock().unwrap().may_be_parked(self.topic, &alone.key);
                    }
                    return Err(Error::new(ErrorKind::TooLarge, "too many bytes"));
                }
                1 => return Err(Error::new(ErrorKind::Blocked, "no writes for now")),
                // Some nodes answered, one did not.
                2 => writes.truncate(fate.dice.roll(1 + writes.len() as u64) as usize),
                3 | 4 => return self.answer_item_by_item(writes, fate).await,
                _ => return Err(unavailable("too many requests")),
            }
        }
        let outcomes = self.apply(&writes).await?;
        fate.after.rest().await;
        if fate.refused || fate.lost { Err(unavailable("no answer")) } else { Ok(outcomes) }
    }

    /// Some documents are taken, others are not.
    async fn answer_item_by_item(&self, writes: Vec<Write>, mut fate: Fate) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let kind = match fate.dice.roll(8) {
                0 | 1 => ErrorKind::Unavailable,
                2 => ErrorKind::Refused,
                3 | 4 => ErrorKind::Unexplained,
                _ => {
                    outcomes.extend(self.apply(&[write]).await?);
                    continue;
                }
            };
            if kind != ErrorKind::Unavailable {
                self.oracle.lock().unwrap().may_be_parked(self.topic, &write.key);
            }
            outcomes.push(Outcome::Failed(Error::new(kind, "this one not")));
        }
        fate.after.rest().await;
        Ok(outcomes)
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let outcomes = self.inner.apply(writes).await?;
        let mut oracle = self.oracle.lock().unwrap();
        for (write, outcome) in writes.iter().zip(&outcomes) {
            if matches!(outcome, Outcome::Applied) {
                oracle.indexed(self.topic, &write.key, write.version);
            }
        }
        Ok(outcomes)
    }
}

#[async_trait]
impl Sink for StormySink {
    async fn prepare(&self) -> Result<(), Error> {
        self.weather.call(self.inner.prepare()).await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let fate = self.weather.draw();
        // A request on its way arrives, whether or not anybody waits for its answer.
        let request = self.late.spawn(self.clone().answer(writes.to_vec(), fate));
        request.await.map_err(|error| Error::new(ErrorKind::Internal, "the request").with_source(error))?
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        self.inner.fetch(keys).await
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        self.weather.call(self.inner.history()).await
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        self.weather.call(self.inner.record(history)).await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.inner.count().await
    }
}
