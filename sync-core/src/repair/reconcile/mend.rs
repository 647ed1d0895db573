//! Puts right what was found: what the guard would keep from being written gets a higher version first.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::Reconcile;
use super::confirm::Finding;
use super::page::parked_is_final;
use crate::port::Write;
use crate::repair::mender::{Ended, Mended};
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
                held = ?held.map(Version::external), "could not be put right");
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
        let held: HashMap<&str, Option<Version>> = findings
            .iter()
            .filter(|finding| !parked.contains(&finding.state.key))
            .map(|finding| (finding.state.key.as_str(), finding.held))
            .collect();
        let keys = held.keys().map(|&key| key.to_owned()).collect();
        let mut left = self.differing_now(keys, shutdown).await?.findings;
        // What has another version by now was put right, and has changed again.
        left.retain(|left| held.get(left.state.key.as_str()) == Some(&left.held));
        Ok(left)
    }

    /// Raises the versions of these keys above what the index holds, and says which of them could be.
    async fn raise(&self, outdone: Vec<(String, Version)>, shutdown: &CancellationToken) -> Result<Vec<String>, Ended> {
        let Some(above) = outdone.iter().map(|(_, held)| *held).max() else { return Ok(Vec::new()) };
        let keys: Vec<String> = outdone.iter().map(|(key, _)| key.clone()).collect();
        let raise = || parked_is_final(self.versions.raise(&keys, above));
        match self.mender.patiently(shutdown, raise).await? {
            Ok(()) => Ok(keys),
            Err(error) => {
                tracing::error!(index = self.mender.of.index, %error, "a document is too far ahead to be outdone");
                // The highest one is left as it is; the others are raised without it.
                let rest = outdone.into_iter().filter(|(_, held)| *held < above).collect();
                Box::pin(self.raise(rest, shutdown)).await
            }
        }
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
