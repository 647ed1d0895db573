//! A running room that can be killed at any await point, stopped in good order, and frozen.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
use sync_core::Error;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
struct Frost {
    frozen: AtomicBool,
    thawed: AtomicWaker,
}

#[derive(Debug)]
pub struct Process {
    task: JoinHandle<Result<(), Error>>,
    shutdown: CancellationToken,
    frost: Arc<Frost>,
}

impl Process {
    pub fn start<F>(room: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let frost = Arc::new(Frost::default());
        let task = tokio::spawn(freezable(room(shutdown.clone()), Arc::clone(&frost)));
        Self { task, shutdown, frost }
    }

    /// Drops it wherever it stands.
    pub fn kill(&self) {
        self.task.abort();
    }

    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// It does not move until it is thawed, while time goes on for everybody else.
    pub fn freeze(&self) {
        self.frost.frozen.store(true, Ordering::Relaxed);
    }

    pub fn thaw(&self) {
        self.frost.frozen.store(false, Ordering::Relaxed);
        self.frost.thawed.wake();
    }

    /// What is wrong with how it ended, if anything: rooms end only when they are told to.
    pub async fn end(self) -> Option<String> {
        match self.task.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("a room gave up: {error}")),
            Err(error) => trouble(error),
        }
    }
}

fn trouble(error: JoinError) -> Option<String> {
    error.is_panic().then(|| format!("a room panicked: {error}"))
}

async fn freezable<F: Future>(room: F, frost: Arc<Frost>) -> F::Output {
    let mut room = pin!(room);
    poll_fn(|context| {
        if frost.frozen.load(Ordering::Relaxed) {
            frost.thawed.register(context.waker());
            return Poll::Pending;
        }
        room.as_mut().poll(context)
    })
    .await
}
