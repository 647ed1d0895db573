//! The concrete indexes behind the name that is searched: one is searched, another may take its place.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Error;

/// Makes, exchanges and deletes concrete indexes, while sinks write to them. Everything may be repeated; dropped half-way, or
/// after `Unavailable`, it may have happened.
#[async_trait]
pub trait ConcreteIndexes: Debug + Send + Sync + 'static {
    /// The one that is searched; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`; `Configuration` when several are.
    async fn searched(&self) -> Result<Option<String>, Error>;

    /// A name that is not in use and was not `used`, for the one that comes after `searched`.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn next_name(&self, searched: &str, used: &[String]) -> Result<String, Error>;

    /// Makes `name` for the re-index of this number, of the settings and mappings this was configured with, and has it
    /// know the history `searched` is of. Nobody searches it.
    ///
    /// # Errors
    /// `Configuration` when it cannot be, or is there and was not made for this re-index; `Unavailable`, `Denied`.
    async fn make(&self, name: &str, reindex: i64, searched: &str) -> Result<(), Error>;

    /// Everything written to it is found by searches.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`; `Configuration` when it is gone.
    async fn refresh(&self, name: &str) -> Result<(), Error>;

    /// Has `to` be searched instead of `from`, in one step.
    ///
    /// # Errors
    /// `Configuration` when neither is searched, or one is gone; `Unavailable`, `Denied`.
    async fn switch(&self, from: &str, to: &str) -> Result<(), Error>;

    /// Lets nothing be written to it any more. When it returns, every write under way has ended. To one that is gone, nothing
    /// can be written.
    ///
    /// # Errors
    /// `Configuration` when it is searched; `Unavailable`, `Denied`.
    async fn seal(&self, name: &str) -> Result<(), Error>;

    /// Lets it be written to again, also by those that are configured for the other one already.
    ///
    /// # Errors
    /// `Configuration` when it is gone; `Unavailable`, `Denied`.
    async fn unseal(&self, name: &str) -> Result<(), Error>;

    /// Deletes it, if it is there.
    ///
    /// # Errors
    /// `Configuration` when it is searched; `Unavailable`, `Denied`.
    async fn delete(&self, name: &str) -> Result<(), Error>;
}
