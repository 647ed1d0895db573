//! The documents in the answer to a search, as much of each as was asked for.

use serde::Deserialize;

/// A list of them. With a `filter_path`, an answer that found nothing says nothing: where that is read, the list is empty by
/// default.
#[derive(Debug, Deserialize)]
pub(super) struct Hits<H> {
    pub(super) hits: Vec<H>,
}

impl<H> Default for Hits<H> {
    fn default() -> Self {
        Self { hits: Vec::new() }
    }
}
