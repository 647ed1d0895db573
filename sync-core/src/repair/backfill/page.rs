//! One page of a backfill, until nothing of it waits for a system that is down.

use tokio_util::sync::CancellationToken;

use super::Backfill;
use crate::applier::{Attempt, alike};
use crate::error::{Error, Remedy};
use crate::policy::triage::refuses_everything;
use crate::port::{Current, DeadLetter, Origin};

/// What was scanned.
pub(super) enum Page {
    /// Rows with their documents.
    Rows(Vec<Current>),
    /// Keys alone: one of their rows cannot be read.
    Keys(Vec<String>),
}

impl Page {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Keys(keys) => keys.len(),
        }
    }

    /// The key the next page is after.
    pub(super) fn last(&self) -> Option<&str> {
        match self {
            Self::Rows(rows) => rows.last().map(|row| row.key.as_str()),
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
    /// Applies a page; `None` at a shutdown, or when there was nothing in it.
    pub(super) async fn finish(&self, page: Page, shutdown: &CancellationToken) -> Result<Option<Done>, Error> {
        let Some(last) = page.last().map(str::to_owned) else { return Ok(None) };
        let mut done = Done { last, rows: page.len() as u64, applied: 0, stale: 0, parked: 0 };
        let mut attempt = match page {
            Page::Rows(rows) => self.applier.apply_rows(rows).await,
            Page::Keys(keys) => self.applier.load_and_apply(keys).await,
        };
        let (mut taken, mut failed, mut failures) = (0, Vec::new(), 0);
        loop {
            let Attempt { written, taken: more, failed: refused, unnoted, waiting, error } = attempt;
            done.applied += written.applied;
            done.stale += written.stale;
            taken += more;
            failed.extend(refused);
            if !unnoted.is_empty() {
                tracing::debug!(keys = ?unnoted, "held by a transaction: not noted as being in the index");
            }
            match error {
                None => break,
                Some(error) if error.remedy() == Remedy::Retry => {
                    failures += 1;
                    self.wait_out(failures, &error, shutdown).await;
                    if shutdown.is_cancelled() {
                        return Ok(None);
                    }
                    attempt = self.applier.load_and_apply(waiting).await;
                }
                Some(error) => return Err(error),
            }
        }
        if refuses_everything(taken, failed.len(), self.config.suspicious) {
            return Err(alike(&failed));
        }
        for (key, error) in failed {
            let letter = self.letter(key, &error);
            let parked = self.patiently(shutdown, async || self.letters.park(&letter).await).await?;
            if parked.is_none() {
                return Ok(None);
            }
            tracing::warn!(index = letter.reader, key = ?letter.key, kind = letter.error_kind, %error,
                "parked as a dead letter");
            done.parked += 1;
        }
        Ok(Some(done))
    }

    fn letter(&self, key: String, error: &Error) -> DeadLetter {
        DeadLetter {
            reader: self.of.index.clone(),
            origin: Origin::repair(&self.of.topic),
            event: None,
            key: Some(key),
            value: None,
            error_kind: error.kind().name().to_owned(),
            error: error.to_string(),
            attempts: 1,
            parked_at: self.clock.now(),
        }
    }
}
