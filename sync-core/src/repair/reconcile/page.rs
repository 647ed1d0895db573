//! One page of keys: which of them may differ.

use tokio_util::sync::CancellationToken;

use super::confirm::Suspects;
use super::{Pass, Reconcile, ReconcileScope};
use crate::error::{Error, Remedy};
use crate::port::KeyState;
use crate::repair::difference::{DifferenceKind, by_version};
use crate::repair::mender::Ended;
use crate::version::Version;

/// What was read together.
pub(super) enum Page {
    /// Keys of the database, with their states.
    States(Vec<KeyState>),
    /// Keys of the database alone.
    Keys(Vec<String>),
    /// Keys of the index.
    Listed(Vec<String>),
}

impl Page {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::States(states) => states.len(),
            Self::Keys(keys) | Self::Listed(keys) => keys.len(),
        }
    }

    /// The key the next page is after.
    pub(super) fn last(&self) -> Option<&str> {
        match self {
            Self::States(states) => states.last().map(|state| state.key.as_str()),
            Self::Keys(keys) | Self::Listed(keys) => keys.last().map(String::as_str),
        }
    }
}

/// States of keys, and those whose rows cannot be read, each with the reason.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) states: Vec<KeyState>,
    pub(super) unreadable: Vec<(String, Error)>,
}

impl Reconcile {
    /// Compares one page, and puts right what differs.
    pub(super) async fn page(&self, page: Page, pass: Pass<'_>) -> Result<(), Ended> {
        let Pass { scope, shutdown, .. } = pass;
        let keys = page.len() as u64;
        let suspects = match page {
            Page::Listed(keys) => self.without_rows(keys, pass).await?,
            Page::Keys(keys) => {
                let Readings { states, unreadable } = self.states(keys, shutdown).await?;
                self.tell_unreadable(unreadable);
                self.differing(states, pass).await?
            }
            Page::States(states) => self.differing(states, pass).await?,
        };
        let (is_listed, is_all) = (suspects.is_listed, scope.since.is_none());
        // Of keys that were compared both ways, what has no row is counted where the index is listed.
        let counts = move |kind| match kind {
            DifferenceKind::Orphan => is_listed || !is_all,
            DifferenceKind::Missing | DifferenceKind::Stale | DifferenceKind::Ahead | DifferenceKind::Drifted => {
                !is_listed
            }
        };
        let mut findings = self.confirm(suspects, shutdown).await?;
        findings.retain(|finding| counts(finding.kind));
        let findings = self.set_apart(findings, shutdown).await?;
        if !findings.is_empty() {
            self.progress.tell(&findings);
            if !scope.dry_run {
                self.mend(findings, shutdown).await?;
            }
        }
        self.progress.passed(keys, is_listed);
        Ok(())
    }

    /// The states of these keys. One row that cannot be read fails the statement for all of them: it is found by halving.
    pub(super) async fn states(&self, keys: Vec<String>, shutdown: &CancellationToken) -> Result<Readings, Ended> {
        let (mut readings, mut waiting) = (Readings::default(), vec![keys]);
        while let Some(mut keys) = waiting.pop() {
            if keys.is_empty() {
                continue;
            }
            let limit = self.keys_at_once.get();
            if keys.len() > limit {
                waiting.push(keys.split_off(limit));
            }
            let read = || async {
                match self.mender.applier.read(self.versions.states(&keys)).await.map_err(|error| self.too_long(error))
                {
                    Err(error) if error.remedy() == Remedy::Park => Ok(Some(Err(error))),
                    // What takes too long is tried again with fewer.
                    Err(error) if error.remedy() == Remedy::Retry && keys.len() > self.keys_at_once.get() => Ok(None),
                    states => states.map(|states| Some(Ok(states))),
                }
            };
            match self.mender.patiently(shutdown, read).await? {
                None => waiting.push(keys),
                Some(Ok(states)) => {
                    self.keys_at_once.grow(usize::MAX);
                    readings.states.extend(states);
                }
                Some(Err(_)) if keys.len() > 1 => {
                    let rest = keys.split_off(keys.len() / 2);
                    waiting.extend([rest, keys]);
                }
                Some(Err(error)) => readings.unreadable.extend(keys.pop().map(|key| (key, error))),
            }
        }
        Ok(readings)
    }

    /// Fewer keys may be read in time.
    pub(super) fn too_long(&self, error: Error) -> Error {
        if error.remedy() == Remedy::Retry {
            self.keys_at_once.shrink();
        }
        error
    }

    fn tell_unreadable(&self, unreadable: Vec<(String, Error)>) {
        for (key, error) in unreadable {
            tracing::warn!(index = self.mender.of.index, key, %error, "the row cannot be read, so it is not compared");
            self.progress.unreadable();
        }
    }

    /// Which of these keys seem to differ, and which are to be compared in content.
    async fn differing(&self, states: Vec<KeyState>, pass: Pass<'_>) -> Result<Suspects, Ended> {
        if pass.scope.since.is_none() {
            pass.known.add(states.iter().filter(|state| state.has_document).map(|state| state.key.as_str()));
        }
        let keys: Vec<_> = states.iter().map(|state| state.key.clone()).collect();
        let held = self.mender.patiently(pass.shutdown, || self.inventory.versions(&keys)).await?;
        let mut suspects = Suspects::default();
        for (state, held) in states.into_iter().zip(held) {
            if by_version(state.version, state.has_document, held).is_some() {
                suspects.by_version.push(state.key);
            } else if held.is_some_and(|held| self.is_compared_in_content(state.version, held, pass.scope)) {
                suspects.by_content.push(state.key);
            }
        }
        Ok(suspects)
    }

    fn is_compared_in_content(&self, version: Version, held: Version, scope: &ReconcileScope) -> bool {
        // An earlier epoch may have given the same number to a state that was lost.
        let is_sampled = || self.config.sample > 0 && rand::random_range(0..self.config.sample) == 0;
        scope.deep || held.epoch() != version.epoch() || is_sampled()
    }

    /// Which of these keys of the index seem to have no document in the database.
    async fn without_rows(&self, keys: Vec<String>, pass: Pass<'_>) -> Result<Suspects, Ended> {
        let keys = pass.known.unknown(keys);
        let Readings { states, unreadable } = self.states(keys, pass.shutdown).await?;
        self.tell_unreadable(unreadable);
        let orphans = states.into_iter().filter(|state| !state.has_document).map(|state| state.key);
        Ok(Suspects { by_version: orphans.collect(), is_listed: true, ..Suspects::default() })
    }
}
