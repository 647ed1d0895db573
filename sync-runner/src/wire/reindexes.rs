//! What makes an index anew beside the one that is searched.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Error;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::elasticsearch::{ElasticsearchGenerations, ElasticsearchSink};
use sync_core::adapter::postgres::{PostgresProjection, PostgresReindexes, PostgresSource, ReindexesConfig};
use sync_core::port::{DeadLetters, Reindexing};
use sync_core::relay::{Relay, RelayConfig};
use sync_core::repair::{Refusals, Reindex, ReindexTools, RepairOf};

use super::bus_ends::BusEnds;
use super::repairs::{RUN_LEASE, Repaired};
use super::{DIRECT_PARTITIONS, IndexerOf, IndexersOf, Wire, clock, index_config, settings, with_retry_topics};
use crate::config::Index;
use crate::tasks::Role;

/// What changed longer ago than that has arrived in the index that is made: it is written to by this process alone.
const GRACE: Duration = Duration::from_secs(5);

impl Wire<'_> {
    /// Re-indexes, as they are run.
    pub(crate) fn reindexes(&self) -> PostgresReindexes {
        let config = ReindexesConfig { holder: self.holder.clone(), lease: RUN_LEASE };
        PostgresReindexes::new(self.database.clone(), config)
    }

    /// The concrete indexes of an index; a new one is made of `mapping`.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn generations(&self, index: &Index, mapping: &str) -> Result<ElasticsearchGenerations, Error> {
        ElasticsearchGenerations::new(&settings::elasticsearch(self.config), index_config(index), mapping)
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
        let elasticsearch = settings::elasticsearch(self.config);
        let refusals = Arc::new(Refusals::new(name, Arc::new(self.dead_letters())));
        let repaired = Repaired {
            // Its runs are the concrete index's own: others of the same index go on meanwhile.
            of: RepairOf { index: target.to_owned(), topic: index.topic.clone() },
            projection: Arc::new(PostgresProjection::new(self.database.clone(), Self::unnoted(name, index))),
            sink: Arc::new(ElasticsearchSink::of_concrete(&elasticsearch, index_config(index), target)?),
            letters: Arc::<Refusals>::clone(&refusals),
        };
        let roles = self.following(name, index, &repaired)?;
        let tools = ReindexTools {
            reindexes: Arc::new(self.reindexes()),
            generations: Arc::new(self.generations(index, &of.mapping)?),
            backfill: self.backfill_of(repaired.clone(), per_second),
            reconcile: self.reconcile_of(repaired, per_second, GRACE),
            refusals,
        };
        Ok((Reindex::new(of.clone(), &index.topic, tools), roles))
    }

    fn following(&self, name: &str, index: &Index, repaired: &Repaired) -> Result<Vec<Role>, Error> {
        let topics: Vec<_> = with_retry_topics(self.config, &index.topic).collect();
        let relay = &self.config.relay;
        let capacity = relay.batch_events.saturating_mul(relay.in_flight);
        let bus = DirectBus::new(topics.iter().map(String::as_str), capacity, DIRECT_PARTITIONS);
        let mut source = self.source_config(&Reindexing::subscription_of(name));
        (source.topics, source.subscribes) = (Some(vec![index.topic.clone()]), false);
        let source = Arc::new(PostgresSource::new(self.database.clone(), source));
        let config = RelayConfig { in_flight: relay.in_flight, ..RelayConfig::default() };
        let relay = Relay::new(source, Arc::new(bus.clone()), config);
        let indexers = IndexersOf {
            name: name.to_owned(),
            topic: index.topic.clone(),
            group: String::new(),
            projection: Arc::<PostgresProjection>::clone(&repaired.projection),
            sink: Arc::<ElasticsearchSink>::clone(&repaired.sink),
            letters: Arc::<dyn DeadLetters>::clone(&repaired.letters),
            clock: clock(),
            bus: BusEnds::Direct(bus),
            config: self.indexer_config(),
        };
        let mut roles = vec![Role::new(format!("relay into {}", repaired.of.index), move |shutdown| async move {
            relay.run(shutdown).await
        })];
        for IndexerOf { topic, indexer, .. } in indexers.configured()? {
            let role = format!("indexer into {} from {topic}", repaired.of.index);
            roles.push(Role::new(role, move |shutdown| async move { indexer.run(shutdown).await }));
        }
        Ok(roles)
    }
}
