//! Where messages go that cannot be applied: to be tried again later, or to the dead letters.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::IndexerConfig;
use super::failure::{Failure, Verdict, note};
use super::message::Followed;
use super::patience::Patience;
use super::progress::IndexerProgress;
use crate::error::Error;
use crate::event::Outgoing;
use crate::policy::RetryPolicy;
use crate::port::{Clock, DeadLetter, DeadLetters, Partition, Publisher};

/// Where one index puts what it cannot apply.
#[derive(Debug)]
pub struct Parking {
    /// The index, as its dead letters and retries name it.
    reader: String,
    /// The topic it follows; the names of its retry topics and of its dead-letter topic begin with it.
    topic: String,
    letters: Arc<dyn DeadLetters>,
    clock: Arc<dyn Clock>,
    bus: Option<RetryBus>,
}

#[derive(Debug)]
struct RetryBus {
    /// A publisher wants one caller at a time.
    publisher: Mutex<Arc<dyn Publisher>>,
    /// Whether a note of each letter goes to a dead-letter topic.
    notes: bool,
}

/// Where there is nothing to try again from.
const ONCE: RetryPolicy = RetryPolicy { attempts: 1, first: Duration::ZERO, multiplier: 1 };

impl Parking {
    /// Dead letters of the index `reader`, which follows `topic`. Nothing is tried again later.
    ///
    /// An indexer of a retry topic is given the original topic here, too, the first of [`RetryPolicy::topics`]. A message of any
    /// other topic is one that waits for another try, and its headers count the tries it had. Given the retry topic itself, it
    /// would take each try for the first, and put what fails again into a topic that nobody reads.
    #[must_use]
    pub fn new(
        reader: impl Into<String>,
        topic: impl Into<String>,
        letters: Arc<dyn DeadLetters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { reader: reader.into(), topic: topic.into(), letters, clock, bus: None }
    }

    /// What fails for a reason nobody knows waits in the [retry topics](crate::policy::retry_topic) of this
    /// bus. There has to be an [`Indexer`](super::Indexer) for each of the topics that [`RetryPolicy::topics`] says, of the
    /// same `retries`, with a parking and a publisher of its own: on a bus that holds only so much, one that waits for room
    /// must not hold up the one that makes it. A note of each dead letter goes to the
    /// [dead-letter topic](crate::policy::dead_letter_topic) if `notes` says so.
    #[must_use]
    pub fn with_bus(self, publisher: Arc<dyn Publisher>, notes: bool) -> Self {
        Self { bus: Some(RetryBus { publisher: Mutex::new(publisher), notes }), ..self }
    }

    pub(super) fn followed(&self) -> Followed<'_> {
        Followed { reader: &self.reader, topic: &self.topic }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Puts the failures of one batch where they belong; returns once all of them are safe there.
    pub(super) async fn settle(
        &self,
        failures: Vec<Failure>,
        partition: &Partition,
        mut patience: Patience<'_>,
        config: &IndexerConfig,
        progress: &IndexerProgress,
    ) {
        let (mut retries, mut letters) = (Vec::new(), Vec::new());
        for failure in failures {
            let now = self.clock.now();
            let policy = if self.bus.is_some() { &config.retries } else { &ONCE };
            match failure.verdict(self.followed(), partition, policy, now, rand::random()) {
                Verdict::Retry(message) => retries.push(message),
                Verdict::Park(letter) => letters.push(letter),
            }
        }
        // A letter that is parked anew is a new one, and people would be told of it again.
        for letter in &letters {
            while let Err(error) = self.letters.park(letter).await {
                sleep(patience.after(&error)).await;
            }
        }
        while let Err(error) = self.publish(&retries, &letters).await {
            sleep(patience.after(&error)).await;
        }
        patience.over();
        progress.retried(retries.len() as u64);
        for letter in &letters {
            let DeadLetter { key, origin, error_kind, error, attempts, .. } = letter;
            let topic = &origin.topic;
            tracing::warn!(key = key.as_deref(), topic, partition = origin.partition, offset = origin.offset, attempts,
                kind = error_kind, %error, "parked as a dead letter");
            progress.parked();
        }
    }

    /// Publishes retries and the notes of letters. May be repeated: a key that is tried once more does no harm.
    async fn publish(&self, retries: &[Outgoing], letters: &[DeadLetter]) -> Result<(), Error> {
        let Some(bus) = &self.bus else { return Ok(()) };
        let notes = letters.iter().filter(|_| bus.notes).map(|letter| note(&self.topic, letter));
        let messages: Vec<_> = retries.iter().cloned().chain(notes).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let acknowledgement = bus.publisher.lock().await.publish(messages).await?;
        acknowledgement.await
    }
}
