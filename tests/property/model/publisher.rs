//! The writing end of the bus in bad weather: a line on which batches travel in order, until it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sync_core::port::{Acknowledgement, Publisher};
use sync_core::{Error, Outgoing};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::broken::Broken;
use super::weather::{Weather, unavailable};

/// A producer as Kafka's is: what is handed over is stored later, in order. Once a batch fails, of which any beginning
/// may have been stored, everything behind it on the line fails too. The next call begins with a new line, once the
/// caller has been told of the failure, by an acknowledgement or by that call itself.
#[derive(Debug)]
pub struct StormyPublisher {
    wire: Wire,
    line: tokio::sync::Mutex<Option<Line>>,
}

/// What every line needs.
#[derive(Clone, Debug)]
pub struct Wire {
    pub inner: Arc<dyn Publisher>,
    pub weather: Weather,
    /// What goes on after the process is gone.
    pub late: TaskTracker,
    pub broken: Broken,
}

#[derive(Debug)]
struct Line {
    parts: mpsc::UnboundedSender<Part>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    failed: AtomicBool,
    /// The caller knows of it.
    told: AtomicBool,
    /// The process died, and what was not on its way stays where it was.
    dead: AtomicBool,
}

#[derive(Debug)]
struct Part {
    messages: Vec<Outgoing>,
    stored: oneshot::Sender<Result<(), Error>>,
}

impl StormyPublisher {
    pub fn new(wire: Wire) -> Self {
        Self { wire, line: tokio::sync::Mutex::default() }
    }
}

#[async_trait]
impl Publisher for StormyPublisher {
    async fn publish(&self, mut batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        let mut fate = self.wire.weather.draw();
        fate.before.rest().await;
        if fate.refused {
            return Err(unavailable("nothing was handed over"));
        }
        let mut line = self.line.lock().await;
        if let Some(failed) = line.take_if(|line| line.state.failed.load(Ordering::Relaxed))
            && !failed.state.told.load(Ordering::Relaxed)
            && self.wire.broken != Broken::Forgetful
        {
            return Err(unavailable("something before it failed"));
        }
        let line = line.get_or_insert_with(|| Line::open(&self.wire));
        // Half-way a full queue makes the caller wait.
        let rest = batch.split_off(batch.len().min(fate.dice.roll(4) as usize));
        let mut acknowledgements = Vec::new();
        for messages in [batch, rest] {
            if !messages.is_empty() {
                acknowledgements.push(line.hand_over(messages));
                fate.after.rest().await;
            }
        }
        if self.wire.broken == Broken::EarlyAcknowledgements {
            acknowledgements.clear();
        }
        let state = Arc::clone(&line.state);
        Ok(Box::pin(async move {
            for acknowledgement in acknowledgements {
                let stored = acknowledgement.await.unwrap_or_else(|_| Err(unavailable("the line is gone")));
                state.told.fetch_or(stored.is_err(), Ordering::Relaxed);
                stored?;
            }
            Ok(())
        }))
    }
}

impl Drop for StormyPublisher {
    fn drop(&mut self) {
        if let Some(line) = self.line.get_mut()
            && self.wire.weather.draw().dice.roll(2) == 0
        {
            line.state.dead.store(true, Ordering::Relaxed);
        }
    }
}

impl Line {
    fn open(wire: &Wire) -> Self {
        let (parts, travelling) = mpsc::unbounded_channel();
        let state = Arc::new(State::default());
        wire.late.spawn(carry(wire.clone(), wire.weather.place(), Arc::clone(&state), travelling));
        Self { parts, state }
    }

    fn hand_over(&self, messages: Vec<Outgoing>) -> oneshot::Receiver<Result<(), Error>> {
        let (stored, acknowledgement) = oneshot::channel();
        // Without a carrier the part is dropped, and with it its answer.
        drop(self.parts.send(Part { messages, stored }));
        acknowledgement
    }
}

/// Stores part after part; goes on when nobody hands over any more, until all are stored.
async fn carry(wire: Wire, weather: Weather, state: Arc<State>, mut travelling: mpsc::UnboundedReceiver<Part>) {
    while let Some(Part { mut messages, stored }) = travelling.recv().await {
        let mut fate = weather.draw();
        fate.before.rest().await;
        if state.dead.load(Ordering::Relaxed) || state.failed.load(Ordering::Relaxed) {
            answer(stored, Err(unavailable("something before it failed")));
            continue;
        }
        if fate.refused {
            messages.truncate(fate.dice.roll(messages.len() as u64) as usize);
        }
        let done = store(wire.inner.as_ref(), messages).await;
        fate.after.rest().await;
        if fate.refused || fate.lost || done.is_err() {
            state.failed.store(wire.broken != Broken::Gaps, Ordering::Relaxed);
            answer(stored, Err(unavailable("how much was stored is unknown")));
        } else {
            answer(stored, Ok(()));
        }
    }
}

async fn store(bus: &dyn Publisher, messages: Vec<Outgoing>) -> Result<(), Error> {
    bus.publish(messages).await?.await
}

fn answer(stored: oneshot::Sender<Result<(), Error>>, result: Result<(), Error>) {
    // Whoever wanted to know may be dead.
    drop(stored.send(result));
}

/// The direct bus in bad weather: only its answers suffer, it is in the same process.
#[derive(Debug)]
pub struct StormyDirect {
    pub inner: Arc<dyn Publisher>,
    pub weather: Weather,
}

#[async_trait]
impl Publisher for StormyDirect {
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        let acknowledgement = self.weather.call(self.inner.publish(batch)).await?;
        let weather = self.weather.clone();
        Ok(Box::pin(async move { weather.call(acknowledgement).await }))
    }
}
