//! What no message brings into an index.

use std::sync::Arc;

use super::builder::PipelineIndex;
use super::{Pipeline, a_holder};
use crate::adapter::SystemClock;
use crate::adapter::postgres::{PostgresDeadLetters, PostgresRuns, RunsConfig};
use crate::error::{Error, ErrorKind};
use crate::port::KeptLetter;
use crate::repair::{Backfill, BackfillConfig, Reconcile, ReconcileConfig, RepairOf, Replayed, replay};

impl Pipeline {
    /// What puts every row of the projection into this index: those that were there before their table was watched. It is run
    /// beside the pipeline, or before; it goes on where it was when it is made and run again.
    ///
    /// # Errors
    /// `Configuration` when no index has this name.
    pub fn backfill(&self, index: &str, config: BackfillConfig) -> Result<Backfill, Error> {
        let index = self.named(index)?;
        let (projection, sink) = (Arc::clone(&index.projection), Arc::clone(&index.sink));
        let (runs, letters) = (Arc::new(self.runs()), self.letters.clone());
        Ok(Backfill::new(repaired(index), projection, sink, runs, letters, Arc::new(SystemClock), config))
    }

    /// What compares this index with the database and puts right what differs. It is run beside the pipeline, as often as
    /// somebody wants to know: nothing runs it by itself.
    ///
    /// # Errors
    /// `Configuration` when no index has this name, or it was named by [`index_of`](super::PipelineBuilder::index_of) and not by
    /// [`compared_index_of`](super::PipelineBuilder::compared_index_of).
    pub fn reconcile(&self, index: &str, config: ReconcileConfig) -> Result<Reconcile, Error> {
        let index = self.named(index)?;
        let Some((versions, inventory)) = index.compared.clone() else {
            let what = format!("the index {:?} cannot be compared: name it by `compared_index_of`", index.name);
            return Err(Error::new(ErrorKind::Configuration, what));
        };
        let (runs, letters) = (Arc::new(self.runs()), self.letters.clone());
        Ok(Reconcile::new(repaired(index), versions, inventory, runs, letters, Arc::new(SystemClock), config))
    }

    /// What could not be applied, or published.
    #[must_use]
    pub fn dead_letters(&self) -> &PostgresDeadLetters {
        &self.letters
    }

    /// Tries a dead letter of an index again, with its row as it is now.
    ///
    /// # Errors
    /// `Configuration` when it is of no index of this pipeline. As [`replay`] otherwise.
    pub async fn replay(&self, letter: &KeptLetter) -> Result<Replayed, Error> {
        let index = self.named(&letter.letter.reader)?;
        replay(letter, &*index.projection, &*index.sink, &*self.letters, &SystemClock).await
    }

    fn named(&self, index: &str) -> Result<&PipelineIndex, Error> {
        self.indexes.iter().find(|of| of.name == index).ok_or_else(|| {
            let names: Vec<_> = self.indexes.iter().map(|of| of.name.as_str()).collect();
            let what = format!("the pipeline has no index {index:?}, but {}", names.join(", "));
            Error::new(ErrorKind::Configuration, what)
        })
    }

    fn runs(&self) -> PostgresRuns {
        PostgresRuns::new(self.database.clone(), RunsConfig::new(a_holder()))
    }
}

fn repaired(index: &PipelineIndex) -> RepairOf {
    RepairOf::new(&index.name, &index.topic)
}
