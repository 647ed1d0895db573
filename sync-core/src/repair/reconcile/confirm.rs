//! What seemed to differ is looked at again: what changes meanwhile, is on its way or waits for a person is no finding.

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;

use super::Reconcile;
use super::page::Readings;
use crate::error::{Error, Remedy};
use crate::port::{Current, KeyState, LetterSelection, Stored};
use crate::repair::difference::{DifferenceKind, by_content, by_version};
use crate::repair::mender::Ended;
use crate::version::Version;

/// Keys that may differ.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    pub(super) by_version: Vec<String>,
    pub(super) by_content: Vec<String>,
    /// Whether they are from the listing of the index.
    pub(super) is_listed: bool,
}

/// A key that differs, seen while it did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: DifferenceKind,
    pub(super) state: KeyState,
    /// What the index holds.
    pub(super) held: Option<Version>,
}

/// What was seen of some keys.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    pub(super) findings: Vec<Finding>,
    /// How many changed meanwhile.
    moving: u64,
    /// How many documents were compared.
    compared: u64,
}

impl Reconcile {
    /// Those that differ for certain. The database is read before and after the index: only what it says both times
    /// alike can be compared with what the index says in between. What changed meanwhile is counted as on its way.
    pub(super) async fn confirm(
        &self,
        suspects: Suspects,
        shutdown: &CancellationToken,
    ) -> Result<Vec<Finding>, Ended> {
        let mut seen = self.differing_now(suspects.by_version, shutdown).await?;
        let drifted = self.drifted(suspects.by_content, shutdown).await?;
        self.progress.sampled(drifted.compared);
        self.progress.in_flight(seen.moving + drifted.moving);
        seen.findings.extend(drifted.findings);
        Ok(seen.findings)
    }

    /// Those that differ by their versions.
    pub(super) async fn differing_now(
        &self,
        keys: Vec<String>,
        shutdown: &CancellationToken,
    ) -> Result<Confirmed, Ended> {
        if keys.is_empty() {
            return Ok(Confirmed::default());
        }
        let Readings { states: before, .. } = self.states(keys, shutdown).await?;
        let keys: Vec<_> = before.iter().map(|state| state.key.clone()).collect();
        let held = self.mender.patiently(shutdown, || self.inventory.versions(&keys)).await?;
        let differ = |(state, held): (KeyState, Option<Version>)| {
            let kind = by_version(state.version, state.has_document, held)?;
            Some(Finding { kind, state, held })
        };
        let found = before.into_iter().zip(held).filter_map(differ).collect();
        self.unchanged(found, shutdown).await
    }

    /// Those whose documents differ.
    pub(super) async fn drifted(&self, keys: Vec<String>, shutdown: &CancellationToken) -> Result<Confirmed, Ended> {
        let (mut found, mut compared) = (Vec::new(), 0);
        let mut waiting = vec![keys];
        while let Some(mut keys) = waiting.pop() {
            if keys.is_empty() {
                continue;
            }
            let limit = self.documents_at_once.get();
            if keys.len() > limit {
                waiting.push(keys.split_off(limit));
            }
            match self.mender.patiently(shutdown, || self.both(&keys)).await? {
                Some(both) => {
                    compared += both.len() as u64;
                    found.extend(both.into_iter().filter_map(|(current, stored)| {
                        let kind = by_content(&current, stored.as_ref())?;
                        let Current { key, version, document } = current;
                        let has_document = document.is_some();
                        let state = KeyState { key, version, has_document, is_possible: true, age: None };
                        Some(Finding { kind, state, held: stored.map(|stored| stored.version) })
                    }));
                }
                // Too many at once, or one that cannot be read.
                None if keys.len() > 1 => {
                    let rest = keys.split_off(keys.len() / 2);
                    waiting.extend([rest, keys]);
                }
                None => self.progress.unreadable(),
            }
        }
        Ok(Confirmed { compared, ..self.unchanged(found, shutdown).await? })
    }

    /// The documents of both sides; `None` when fewer keys have to be asked for.
    async fn both(&self, keys: &[String]) -> Result<Option<Vec<(Current, Option<Stored>)>>, Error> {
        let read = async {
            let applier = &self.mender.applier;
            let current = applier.read(applier.projection().load(keys)).await?;
            let stored = applier.sink().fetch(keys).await?;
            Ok::<_, Error>((current, stored))
        };
        let (current, stored) = match read.await {
            Err(error) if error.remedy() == Remedy::Park => return Ok(None),
            Err(error) if error.remedy() == Remedy::Retry => {
                self.documents_at_once.shrink();
                // They may be too large to be answered in time.
                return if keys.len() > self.documents_at_once.get() { Ok(None) } else { Err(error) };
            }
            read => read?,
        };
        let bytes: usize = current.iter().filter_map(|current| current.document.as_ref()).map(String::len).sum();
        self.documents_at_once.grow(keys.len().saturating_mul(self.config.batch_bytes) / bytes.max(1));
        Ok(Some(current.into_iter().zip(stored).collect()))
    }

    /// Those whose row is as it was, with what is known of it now.
    async fn unchanged(&self, found: Vec<Finding>, shutdown: &CancellationToken) -> Result<Confirmed, Ended> {
        let mut seen = Confirmed::default();
        if found.is_empty() {
            return Ok(seen);
        }
        let keys = found.iter().map(|finding| finding.state.key.clone()).collect();
        let Readings { states, .. } = self.states(keys, shutdown).await?;
        let mut now: HashMap<String, KeyState> = states.into_iter().map(|state| (state.key.clone(), state)).collect();
        for finding in found {
            match now.remove(&finding.state.key) {
                Some(state) if is_same(&state, &finding.state) => seen.findings.push(Finding { state, ..finding }),
                Some(_) | None => seen.moving += 1,
            }
        }
        Ok(seen)
    }

    /// Leaves out, and counts apart, what may be on its way and what waits for a person.
    pub(super) async fn set_apart(
        &self,
        mut findings: Vec<Finding>,
        shutdown: &CancellationToken,
    ) -> Result<Vec<Finding>, Ended> {
        let all = findings.len();
        findings.retain(|finding| !self.may_be_on_its_way(finding));
        self.progress.in_flight((all - findings.len()) as u64);
        if findings.is_empty() {
            return Ok(findings);
        }
        let keys = findings.iter().map(|finding| finding.state.key.clone()).collect();
        let selection = LetterSelection {
            keys: Some(keys),
            reader: Some(self.mender.of.index.clone()),
            ..LetterSelection::default()
        };
        let list = || self.mender.letters.list(&selection, 0, findings.len());
        let letters = self.mender.patiently(shutdown, list).await?;
        let parked: HashSet<String> = letters.into_iter().filter_map(|kept| kept.letter.key).collect();
        self.progress.dead_lettered(parked.len() as u64);
        findings.retain(|finding| !parked.contains(&finding.state.key));
        Ok(findings)
    }

    /// What the index has too much of, nothing that is on its way takes away.
    fn may_be_on_its_way(&self, finding: &Finding) -> bool {
        let is_young = finding.state.age.is_some_and(|age| age < self.config.grace);
        match finding.kind {
            DifferenceKind::Missing | DifferenceKind::Stale | DifferenceKind::Orphan => is_young,
            DifferenceKind::Ahead | DifferenceKind::Drifted => false,
        }
    }
}

fn is_same(one: &KeyState, other: &KeyState) -> bool {
    (one.version, one.has_document) == (other.version, other.has_document)
}
