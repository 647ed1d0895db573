//! What time it is. Only for what is said to people and stored; order never depends on it.

use std::fmt::Debug;

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now. May go back.
    fn now(&self) -> Timestamp;
}
