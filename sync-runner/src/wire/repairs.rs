//! What compares indexes with the database and puts them right.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Error;
use sync_core::adapter::postgres::{PostgresProjection, PostgresRuns, RunsConfig};
use sync_core::port::{DeadLetters, Inventory};
use sync_core::repair::{Backfill, BackfillConfig, Reconcile, ReconcileConfig, RepairOf};

use super::{Wire, clock};
use crate::config::Index;
use crate::reconciler::Reconciler;

/// How long a long repair whose process died is left to it.
pub(super) const RUN_LEASE: Duration = Duration::from_secs(15);

impl Wire<'_> {
    /// What dead letters are tried again with, by index.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn replayers(&self) -> Result<Vec<Replayer>, Error> {
        let of = |(name, index): (&String, &Index)| {
            Ok(Replayer {
                index: name.clone(),
                projection: self.projection(name, index),
                sink: self.sink(name, index)?.inventory(),
            })
        };
        self.config.indexes.iter().map(of).collect()
    }

    /// What puts every row into an index, so many in a second at most.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn backfill(
        &self,
        name: &str,
        index: &Index,
        per_second: Option<NonZeroU32>,
    ) -> Result<Backfill, Error> {
        Ok(self.backfill_of(self.repaired(name, index)?, per_second))
    }

    /// The same of what is said.
    pub(super) fn backfill_of(&self, repaired: Repaired, per_second: Option<NonZeroU32>) -> Backfill {
        let settings = &self.config.indexer;
        let config = BackfillConfig::default()
            .page_keys(settings.batch_messages)
            .batch_bytes(settings.batch_bytes)
            .in_flight(settings.in_flight)
            .suspicious(settings.suspicious)
            .per_second(per_second);
        let Repaired { of, projection, sink, letters } = repaired;
        Backfill::new(of, projection, sink, Arc::new(self.runs()), letters, clock(), config)
    }

    /// What compares an index with its database, so many keys in a second at most.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn reconcile(
        &self,
        name: &str,
        index: &Index,
        per_second: Option<NonZeroU32>,
    ) -> Result<Reconcile, Error> {
        let per_second = per_second.or(NonZeroU32::new(self.config.reconcile.rate));
        Ok(self.reconcile_of(self.repaired(name, index)?, per_second, self.config.reconcile.grace))
    }

    /// The same of what is said.
    pub(super) fn reconcile_of(
        &self,
        repaired: Repaired,
        per_second: Option<NonZeroU32>,
        grace: Duration,
    ) -> Reconcile {
        let settings = &self.config.indexer;
        let config = ReconcileConfig::default()
            .batch_bytes(settings.batch_bytes)
            .suspicious(settings.suspicious)
            .grace(grace)
            .per_second(per_second);
        let Repaired { of, projection, sink, letters } = repaired;
        Reconcile::new(of, projection, sink, Arc::new(self.runs()), letters, clock(), config)
    }

    fn repaired(&self, name: &str, index: &Index) -> Result<Repaired, Error> {
        Ok(Repaired {
            of: RepairOf::new(name, &index.topic),
            projection: Arc::new(self.projection(name, index)),
            sink: self.sink(name, index)?.inventory(),
            letters: Arc::new(self.dead_letters()),
        })
    }

    /// What does that when the schedule says.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    pub(crate) fn reconciler(&self) -> Result<Reconciler, Error> {
        let of = |(name, index): (&String, &Index)| Ok((name.clone(), self.reconcile(name, index, None)?));
        let indexes = self.config.indexes.iter().map(of).collect::<Result<_, Error>>()?;
        Ok(Reconciler { settings: self.config.reconcile.clone(), runs: Arc::new(self.runs()), indexes })
    }

    /// Long repairs, as they are run.
    pub(crate) fn runs(&self) -> PostgresRuns {
        let config = RunsConfig::new(&self.holder).lease(RUN_LEASE);
        PostgresRuns::new(self.database.clone(), config)
    }
}

/// What a repair is about, and what it works with.
#[derive(Clone, Debug)]
pub(super) struct Repaired {
    pub(super) of: RepairOf,
    pub(super) projection: Arc<PostgresProjection>,
    pub(super) sink: Arc<dyn Inventory>,
    pub(super) letters: Arc<dyn DeadLetters>,
}

/// What dead letters of one index are tried again with.
#[derive(Debug)]
pub(crate) struct Replayer {
    /// The index, as its letters name it.
    pub(crate) index: String,
    /// Reads the rows.
    pub(crate) projection: PostgresProjection,
    /// Writes the documents.
    pub(crate) sink: Arc<dyn Inventory>,
}
