//! Puts right what was found: what the guard would keep from being written gets a higher version first.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::Reconcile;
use super::confirm::Finding;
use crate::error::Remedy;
use crate::port::Write;
use crate::repair::difference::DifferenceKind;
use crate::repair::mender::{Ended, Mended, answered};
use crate::version::Version;

/// A document deleted by hand leaves behind a version nobody can ask for; each change by hand raises it by one.
const CHANGES_BY_HAND: u64 = 1_000;

impl Reconcile {
    /// Puts them right and looks whether they are.
    pub(super) async fn mend(&self, findings: Vec<Finding>, shutdown: &CancellationToken) -> Result<(), Ended> {
        let (impossible, possible): (Vec<_>, Vec<_>) = findings.iter().partition(|found| !found.state.is_possible);
        self.delete_impossible(&impossible, shutdown).await?;
        let (mut keys, mut outdone) = (Vec::with_capacity(possible.len()), Vec::new());
        for Finding { state, held, .. } in possible {
            match held.filter(|held| *held >= state.version) {
                Some(held) => outdone.push((state.key.clone(), held)),
                None => keys.push(state.key.clone()),
            }
        }
        keys.extend(self.raise(outdone, shutdown).await?);
        let Mended { mut parked, .. } = self.mender.mend(keys, shutdown).await?;

        // Still not there: the index remembers a delete whose version is no lower.
        let left = self.left(&findings, &parked, shutdown).await?;
        let deleted = left.iter().filter(|left| left.held.is_none()).map(|left| {
            let above = left.state.version.external().saturating_add(CHANGES_BY_HAND);
            (left.state.key.clone(), Version::from_external(above))
        });
        let again = self.raise(deleted.collect(), shutdown).await?;
        let left = if again.is_empty() {
            left
        } else {
            parked.extend(self.mender.mend(again, shutdown).await?.parked);
            self.left(&findings, &parked, shutdown).await?
        };
        for Finding { kind, state, held } in &left {
            tracing::error!(index = self.mender.of.index, key = state.key, kind = kind.name(), database = %state.version,
                held = ?held.map(|held| held.to_string()), "could not be put right");
        }
        self.progress.mended(findings.len() as u64, parked.len() as u64, left.len() as u64);
        Ok(())
    }

    /// Those of which the index still holds what it held, but for the parked ones.
    async fn left(
        &self,
        findings: &[Finding],
        parked: &[String],
        shutdown: &CancellationToken,
    ) -> Result<Vec<Finding>, Ended> {
        let findings: Vec<_> = findings.iter().filter(|finding| !parked.contains(&finding.state.key)).collect();
        let held: HashMap<&str, Option<Version>> =
            findings.iter().map(|finding| (finding.state.key.as_str(), finding.held)).collect();
        let keys = held.keys().map(|&key| key.to_owned()).collect();
        let mut left = self.differing_now(keys, shutdown).await?.findings;
        // What has another version by now was put right, and has changed again.
        left.retain(|left| held.get(left.state.key.as_str()) == Some(&left.held));
        // Some indexes do not keep what they are given.
        let drifted = findings.iter().filter(|finding| finding.kind == DifferenceKind::Drifted);
        let drifted = drifted.map(|finding| finding.state.key.clone()).collect();
        let again = self.drifted(drifted, shutdown).await?.findings;
        left.extend(again.into_iter().filter(|again| again.kind == DifferenceKind::Drifted));
        Ok(left)
    }

    /// Raises the versions of these keys above what the index holds, and says which of them could be: those too high to
    /// be outdone are found by halving.
    async fn raise(
        &self,
        mut outdone: Vec<(String, Version)>,
        shutdown: &CancellationToken,
    ) -> Result<Vec<String>, Ended> {
        outdone.sort_unstable_by_key(|(_, held)| *held);
        let (mut raised, mut waiting) = (Vec::with_capacity(outdone.len()), vec![outdone]);
        while let Some(mut outdone) = waiting.pop() {
            let Some(above) = outdone.last().map(|(_, held)| *held) else { continue };
            let keys: Vec<String> = outdone.iter().map(|(key, _)| key.clone()).collect();
            let raise = || answered(|error| error.remedy() == Remedy::Park, self.versions.raise(&keys, above));
            match self.mender.patiently(shutdown, raise).await? {
                Ok(()) => raised.extend(keys),
                Err(_) if outdone.len() > 1 => {
                    let higher = outdone.split_off(outdone.len() / 2);
                    waiting.extend([higher, outdone]);
                }
                Err(error) => {
                    tracing::error!(index = self.mender.of.index, ?keys, %error, "its version cannot be raised");
                }
            }
        }
        Ok(raised)
    }

    /// Deletes documents of keys the database cannot have: no row of theirs will ever be written, so no version of
    /// theirs has to be kept.
    async fn delete_impossible(&self, findings: &[&Finding], shutdown: &CancellationToken) -> Result<(), Ended> {
        if findings.is_empty() {
            return Ok(());
        }
        let delete = |Finding { state, held, .. }: &&Finding| {
            let above = held.unwrap_or_default().external().saturating_add(1);
            Write { key: state.key.clone(), version: Version::from_external(above), document: None }
        };
        let writes: Vec<_> = findings.iter().map(delete).collect();
        self.mender.patiently(shutdown, || self.mender.applier.sink().apply(&writes)).await?;
        Ok(())
    }
}
