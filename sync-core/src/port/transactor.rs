//! A bus that stores messages and a position together, or not at all.

use std::fmt::Debug;

use async_trait::async_trait;

use super::ledger::Mark;
use crate::error::Error;
use crate::event::Outgoing;

/// Publishes in transactions, one publisher at a time under each name.
#[async_trait]
pub trait Transactor: Debug + Send + Sync + 'static {
    /// Makes the caller the only one who publishes under `name`: what others began and did not finish is taken back,
    /// and nothing they still send is ever seen. Call it with the lease in hand, and look at the lease again
    /// afterwards: a process that was asleep in between shuts out whoever took over.
    ///
    /// May be called again after any error. Dropped half-way, others may have been shut out.
    ///
    /// # Errors
    /// `Denied`, `Configuration`, `Unavailable`.
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error>;
}

/// The right to publish under a name, until another takes it.
#[async_trait]
pub trait Transactions: Debug + Send {
    /// The newest mark under this name, whoever stored it; `None` when there never was one. Everything published with
    /// it is there, nothing else is. It only looks: it may be called again, also after an error or a drop half-way.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`; `Configuration` when something else than a mark is there.
    async fn mark(&mut self) -> Result<Option<Mark>, Error>;

    /// Which of these messages can never be stored, however alone, by their places in ascending order, and why; each
    /// reason is one that is parked. Stores nothing, and [`publish`](Self::publish) of the others may follow. It says what
    /// is known beforehand: `publish` may still refuse what is not among them. There may be no messages.
    ///
    /// May be called again, also after it was dropped half-way.
    ///
    /// # Errors
    /// As `publish`; then begin anew.
    async fn refusals(&mut self, messages: &[Outgoing]) -> Result<Vec<(usize, Error)>, Error>;

    /// Stores all messages and the mark, or nothing; the mark alone when there are no messages. Messages of one key are
    /// stored in the order handed over, across calls too. When it returns, readers that leave out what is not committed see
    /// all of it.
    ///
    /// Not to be called again after an error or a drop half-way: begin anew.
    ///
    /// # Errors
    /// `Fenced` when another has begun under this name: nothing was stored. `Configuration` when a topic does not exist
    /// and may not be created; `Denied`; `Refused`, or `TooLarge`, when one message can never be stored, naming it: nothing was
    /// stored. After `Unavailable` it is unknown: [`mark`](Self::mark) of the next one says.
    async fn publish(&mut self, messages: Vec<Outgoing>, mark: &Mark) -> Result<(), Error>;
}
