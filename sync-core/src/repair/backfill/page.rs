//! One page of a backfill, until nothing of it waits for a system that is down.

use tokio_util::sync::CancellationToken;

use super::Backfill;
use crate::applier::Scanned;
use crate::repair::mender::{Ended, Mended, ended};

/// What was scanned.
pub(super) enum Page {
    /// Rows with their documents.
    Rows(Scanned),
    /// Keys alone: one of their rows cannot be read.
    Keys(Vec<String>),
}

impl Page {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Rows(scanned) => scanned.rows.len(),
            Self::Keys(keys) => keys.len(),
        }
    }

    /// The key the next page is after.
    pub(super) fn last(&self) -> Option<&str> {
        match self {
            Self::Rows(scanned) => scanned.rows.last().map(|row| row.key.as_str()),
            Self::Keys(keys) => keys.last().map(String::as_str),
        }
    }
}

/// What became of a page.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) last: String,
    pub(super) rows: u64,
    pub(super) applied: u64,
    pub(super) stale: u64,
    pub(super) parked: u64,
}

impl Backfill {
    /// Applies a page.
    pub(super) async fn finish(&self, page: Page, shutdown: &CancellationToken) -> Result<Done, Ended> {
        let (last, rows) = (page.last().unwrap_or_default().to_owned(), page.len() as u64);
        let first = match page {
            Page::Rows(scanned) => ended(shutdown, self.mender.applier.apply_scanned(scanned)).await?,
            Page::Keys(keys) => self.mender.applier.load_and_apply(keys).await,
        };
        let Mended { written, parked } = self.mender.settle(first, shutdown).await?;
        Ok(Done { last, rows, applied: written.applied, stale: written.stale, parked: parked.len() as u64 })
    }
}
