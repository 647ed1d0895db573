//! What makes an index anew beside the one that is searched.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Error;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::postgres::{
    LargePayload, PostgresProjection, PostgresReindexes, PostgresSource, ReindexesConfig,
};
use sync_core::indexer::{IndexerProgress, Stopped};
use sync_core::port::{ConcreteIndexes, DeadLetters, Inventory, Reindexing};
use sync_core::relay::{Relay, RelayConfig};
use sync_core::repair::{Refusals, Reindex, ReindexTools, RepairOf};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bus_ends::BusEnds;
use super::repairs::{RUN_LEASE, Repaired};
use super::{DIRECT_PARTITIONS, IndexerOf, IndexersOf, Wire, clock, retries};
use crate::config::Index;
use crate::tasks::Role;

/// Between two looks whether what carries live changes has stopped.
const LOOK: Duration = Duration::from_secs(1);

/// What changed longer ago than that has arrived in the index that is made: it is written to by this process alone.
const GRACE: Duration = Duration::from_secs(5);

impl Wire<'_> {
    /// Re-indexes, as they are run.
    pub(crate) fn reindexes(&self) -> PostgresReindexes {
        let config = ReindexesConfig::new(&self.holder).lease(RUN_LEASE);
        PostgresReindexes::new(self.database.clone(), config)
    }

    /// The concrete indexes of an index; a new one is made of `mapping`.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn concrete_indexes(
        &self,
        name: &str,
        index: &Index,
        mapping: &str,
    ) -> Result<Arc<dyn ConcreteIndexes>, Error> {
        self.index_ends().concrete_indexes(name, index, mapping)
    }

    /// What goes on with a re-index, so many rows in a second at most, and the roles that carry live changes meanwhile into
    /// the index that is not searched. They have a bus of their own, whatever the others use.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn reindex(
        &self,
        name: &str,
        index: &Index,
        of: &Reindexing,
        per_second: Option<NonZeroU32>,
    ) -> Result<(Reindex, Vec<Role>), Error> {
        let target = of.target();
        let projection = Arc::new(PostgresProjection::new(self.database.clone(), Self::unnoted(name, index)));
        let (letters, versions) = (Arc::new(self.dead_letters()), Arc::<PostgresProjection>::clone(&projection));
        let refusals = Arc::new(Refusals::new(name, letters, versions, self.sink(name, index)?.inventory()));
        let repaired = Repaired {
            // Its runs are the concrete index's own: others of the same index go on meanwhile.
            of: RepairOf::new(target, &of.about.topic),
            projection,
            sink: self.index_ends().concrete_sink(name, index, target)?,
            letters: Arc::<Refusals>::clone(&refusals),
        };
        let roles = self.following(of, &repaired)?;
        let tools = ReindexTools {
            reindexes: Arc::new(self.reindexes()),
            indexes: self.concrete_indexes(name, index, &of.about.mapping)?,
            backfill: self.backfill_of(repaired.clone(), per_second),
            reconcile: self.reconcile_of(repaired, per_second, GRACE),
            refusals,
        };
        Ok((Reindex::new(of.clone(), tools), roles))
    }

    fn following(&self, of: &Reindexing, repaired: &Repaired) -> Result<Vec<Role>, Error> {
        let about = &of.about;
        let topics = retries(self.config).topics(&about.topic);
        let relay = &self.config.relay;
        let capacity = relay.batch_events.saturating_mul(relay.in_flight);
        let bus = DirectBus::new(topics.iter().map(String::as_str), capacity, DIRECT_PARTITIONS);
        let mut source = self.source_config(&of.subscription());
        (source.topics, source.subscribes) = (Some(vec![about.topic.clone()]), false);
        source.large_payload = LargePayload::Omit;
        let source = Arc::new(PostgresSource::new(self.database.clone(), source));
        let config = RelayConfig::default().in_flight(relay.in_flight);
        let relay = Relay::builder(of.subscription(), source, Arc::new(bus.clone())).config(config).build();
        let indexers = IndexersOf {
            name: about.index.clone(),
            topic: about.topic.clone(),
            group: String::new(),
            projection: Arc::<PostgresProjection>::clone(&repaired.projection),
            sink: Arc::<dyn Inventory>::clone(&repaired.sink),
            letters: Arc::<dyn DeadLetters>::clone(&repaired.letters),
            clock: clock(),
            bus: BusEnds::Direct(bus),
            // Whatever is refused is told of by `refusals`, not by a partition that stops.
            config: self.indexer_config().suspicious(0),
            // The live indexers tell of the same messages.
            tracer: None,
        };
        let mut roles = vec![Role::new(format!("relay into {}", repaired.of.index), move |shutdown| async move {
            relay.run(shutdown).await
        })];
        let mut watched = Vec::new();
        for IndexerOf { topic, indexer, .. } in indexers.configured()? {
            watched.push(indexer.progress());
            let role = format!("indexer into {} from {topic}", repaired.of.index);
            roles.push(Role::new(role, move |shutdown| async move { indexer.run(shutdown).await }));
        }
        roles.push(Role::new("watch over them".to_owned(), move |shutdown| watch(watched, shutdown)));
        Ok(roles)
    }
}

/// A partition that waits for a person would have the re-index wait with it, without a word.
async fn watch(indexers: Vec<IndexerProgress>, shutdown: CancellationToken) -> Result<(), Error> {
    while shutdown.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let stopped = indexers.iter().find_map(|indexer| indexer.partitions_stopped().into_values().next());
        if let Some(Stopped { kind, error, .. }) = stopped {
            return Err(Error::new(kind, format!("live changes do not go into the new index: {error}")));
        }
    }
    Ok(())
}
