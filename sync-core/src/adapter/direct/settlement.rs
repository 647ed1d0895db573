//! When a batch is done: each of its parts is settled by a commit, or dropped with the consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};

/// What became of one batch so far.
#[derive(Debug)]
pub(super) struct Settlement {
    /// Parts not settled; one more while the batch is still being handed over.
    open: AtomicUsize,
    dropped: AtomicBool,
    done: Notify,
}

impl Settlement {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(1), dropped: AtomicBool::new(false), done: Notify::new() })
    }

    /// One more part, whose end is awaited.
    pub(super) fn part(self: &Arc<Self>) -> Part {
        self.open.fetch_add(1, Ordering::Relaxed);
        Part { batch: Arc::clone(self), settled: false }
    }

    /// Says that there are no further parts, and waits for those there are.
    pub(super) async fn end(self: Arc<Self>) -> Result<(), Error> {
        self.close_one();
        self.done.notified().await;
        self.check()
    }

    /// An error once a part was dropped.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.dropped.load(Ordering::Acquire) {
            let what = "direct bus: the consumer went away before it was done; everything not committed comes again";
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        Ok(())
    }

    fn close_one(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

/// The messages of one batch in one partition. Dropping it unsettled fails the batch.
#[derive(Debug)]
pub(super) struct Part {
    batch: Arc<Settlement>,
    settled: bool,
}

impl Part {
    pub(super) fn is_of(&self, batch: &Arc<Settlement>) -> bool {
        Arc::ptr_eq(&self.batch, batch)
    }

    pub(super) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.settled {
            self.batch.dropped.store(true, Ordering::Release);
            // At once: the other parts may stay open for as long as another topic's consumer likes.
            self.batch.done.notify_one();
        }
        self.batch.close_one();
    }
}
