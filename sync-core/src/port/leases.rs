//! Who of several processes does what one is to do.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;

/// Keeps leases by name. A lease is one holder's until it has not been held for as long as it was told; of several who ask for
/// it at once, one gets it.
#[async_trait]
pub trait Leases: Debug + Send + Sync + 'static {
    /// Takes this lease or keeps it, for so long from now on; says whether it is this holder's. May be repeated; dropped
    /// half-way, it may have been taken.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn hold(&self, name: &str, lease: Duration) -> Result<bool, Error>;

    /// Leaves this with the lease, for whoever holds it next; it takes the place of what was left before. Says whether it was
    /// left: not where the lease is another's by now. May be repeated; dropped half-way, it may have been left.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn leave(&self, name: &str, note: &str) -> Result<bool, Error>;

    /// What was left with this lease last, by whomever; `None` when nothing was. May be repeated; dropped half-way, nothing
    /// happened.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn left(&self, name: &str) -> Result<Option<String>, Error>;
}
