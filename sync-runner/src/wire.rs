//! The only file that knows every adapter: makes of the configuration what the rooms and the commands work with.

mod bus_ends;
mod checks;
mod index_ends;
mod indexers;
mod reindexes;
mod repairs;
mod searches;
mod settings;
mod workspaces;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Error;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::kafka::{KafkaTransactor, TransactorConfig};
use sync_core::adapter::local_index::LocalDirectory;
use sync_core::adapter::otlp::OtlpTracer;
use sync_core::adapter::postgres::{
    LargePayload, Postgres, PostgresDeadLetters, PostgresLeases, PostgresProjection, PostgresSource, ProjectionConfig,
    SourceConfig, SyncedAt, this_process,
};
use sync_core::adapter::webhook::{Webhook, WebhookConfig};
use sync_core::adapter::{LogAlerts, SystemClock};
use sync_core::alerts::{Alerts, AlertsConfig, ConditionWatch};
use sync_core::indexer::IndexerConfig;
use sync_core::policy::RetryPolicy;
use sync_core::port::{AlertHandler, Clock, Source, Tracer};
use sync_core::relay::{Relay, RelayConfig};

use self::bus_ends::BusEnds;
use self::index_ends::IndexEnds;
pub(crate) use self::index_ends::IndexSink;
pub(crate) use self::indexers::{IndexerOf, IndexersOf};
pub(crate) use self::repairs::Replayer;
pub(crate) use self::workspaces::WorkspacesOf;
use crate::config::{Bus, Config, Delivery, Index, Retries, Sink};

/// How long telling the last traces may take.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// Connections of who only looks.
const LOOKING: usize = 3;

/// Telling people of one alert takes no longer.
const LONGEST_TELLING: Duration = Duration::from_secs(45);

/// Partitions of a topic on the direct bus: as many batches of one index may be in work at the same time.
const DIRECT_PARTITIONS: i32 = 8;

/// What the configuration names, connected to nothing yet.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    config: &'a Config,
    database: Postgres,
    direct: DirectBus,
    local: LocalDirectory,
    holder: String,
    tracer: Option<Arc<OtlpTracer>>,
}

impl<'a> Wire<'a> {
    /// Prepares the connections that are shared.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn new(config: &'a Config) -> Result<Self, Error> {
        let tracer = settings::traces(config).map(|settings| OtlpTracer::new(&settings)).transpose()?;
        let wire = Self::on(Postgres::new(&settings::postgres(config))?, config)?;
        Ok(Self { tracer: tracer.map(Arc::new), ..wire })
    }

    /// The same process with few connections of its own: whoever only looks must not take those of who works.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn looking(&self) -> Result<Self, Error> {
        let settings = settings::postgres(self.config);
        let pool_size = settings.pool_size.min(LOOKING);
        let looking = Self::on(Postgres::new(&settings.pool_size(pool_size))?, self.config)?;
        let (holder, tracer, local) = (self.holder.clone(), self.tracer.clone(), self.local.clone());
        Ok(Self { holder, tracer, local, ..looking })
    }

    fn on(database: Postgres, config: &'a Config) -> Result<Self, Error> {
        let capacity = config.relay.batch_events.saturating_mul(config.relay.in_flight);
        let all: Vec<_> = topics(config).into_iter().flat_map(|topic| retries(config).topics(topic)).collect();
        let direct = DirectBus::new(all.iter().map(String::as_str), capacity, DIRECT_PARTITIONS);
        let local = LocalDirectory::new(&config.local_index.directory);
        Ok(Self { config, database, direct, local, holder: this_process(), tracer: None })
    }

    /// Where it is told what is done for traced transactions, if anywhere.
    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        self.tracer.as_ref().map(|tracer| Arc::clone(tracer) as Arc<dyn Tracer>)
    }

    /// Tells the last traces.
    pub(crate) async fn close(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.close(LAST_TRACES).await;
        }
    }

    /// The database.
    pub(crate) fn database(&self) -> &Postgres {
        &self.database
    }

    /// The outbox as the relay reads it.
    pub(crate) fn source(&self) -> PostgresSource {
        self.source_of(&self.config.relay.subscription)
    }

    /// The same of any subscription.
    pub(crate) fn source_of(&self, subscription: &str) -> PostgresSource {
        PostgresSource::new(self.database.clone(), self.source_config(subscription))
    }

    fn source_config(&self, subscription: &str) -> SourceConfig {
        let relay = &self.config.relay;
        // Without a broker, an event of a topic that no index follows has nowhere to go.
        let read_here = || topics(self.config).into_iter().map(str::to_owned).collect();
        let (topics, large_payload) = match relay.bus {
            Bus::Kafka => (relay.topics.clone(), LargePayload::Withhold),
            // Its indexers read rows, not payloads.
            Bus::Direct => (Some(relay.topics.clone().unwrap_or_else(read_here)), LargePayload::Omit),
        };
        SourceConfig::default()
            .subscription(subscription)
            .topics(topics)
            .holder(&self.holder)
            .lease(relay.lease)
            .batch_events(relay.batch_events)
            .batch_bytes(relay.batch_bytes)
            .max_payload(relay.max_payload)
            .large_payload(large_payload)
            .linger(relay.linger)
            .poll_interval(relay.poll_interval)
            .retention(relay.retention)
    }

    /// The relay, and the source it reads.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn relay(&self) -> Result<(Relay, Arc<dyn Source>), Error> {
        let source = Arc::new(self.source());
        let encoding = settings::encoding(self.config);
        let config = RelayConfig::default().in_flight(self.config.relay.in_flight).encoding(encoding);
        let subscription = &self.config.relay.subscription;
        let relay = match self.config.relay.delivery {
            Delivery::AtLeastOnce => {
                Relay::builder(subscription, Arc::<PostgresSource>::clone(&source), self.bus().publisher()?)
            }
            Delivery::ExactlyOnce => {
                let transactor =
                    Arc::new(KafkaTransactor::new(&settings::kafka(self.config), self.transactor_names())?);
                Relay::exactly_once(subscription, Arc::<PostgresSource>::clone(&source), transactor)
            }
        };
        let relay = relay.config(config).dead_letters(Arc::new(self.dead_letters()), clock());
        Ok((relay.tracer(self.tracer()).build(), source))
    }

    fn transactor_names(&self) -> TransactorConfig {
        let relay = &self.config.relay;
        TransactorConfig::default().namespace(&relay.namespace).positions(&relay.positions_topic)
    }

    /// What makes the indexers of one index.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn indexers(&self, name: &str, index: &Index) -> Result<IndexersOf, Error> {
        Ok(IndexersOf {
            name: name.to_owned(),
            topic: index.topic.clone(),
            // A group of its own for each index: two of them may follow one topic.
            group: format!("{}-{name}", self.config.kafka.group),
            projection: Arc::new(self.projection(name, index)),
            sink: self.sink(name, index)?.inventory(),
            letters: Arc::new(self.dead_letters()),
            clock: clock(),
            bus: self.bus(),
            config: self.indexer_config(),
            tracer: self.tracer(),
        })
    }

    fn indexer_config(&self) -> IndexerConfig {
        let settings = &self.config.indexer;
        IndexerConfig::default()
            .batch_messages(settings.batch_messages)
            .batch_bytes(settings.batch_bytes)
            .in_flight(settings.in_flight)
            .suspicious(settings.suspicious)
            .retries(retries(self.config))
    }

    /// What could not be applied.
    pub(crate) fn dead_letters(&self) -> PostgresDeadLetters {
        PostgresDeadLetters::new(self.database.clone())
    }

    /// Who this process is.
    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }

    /// What keeps watch over the conditions of the pipeline.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn conditions(&self) -> Result<ConditionWatch, Error> {
        let leases = Arc::new(PostgresLeases::new(self.database.clone(), self.holder.clone()));
        let lease = (3 * self.config.admin.interval).max(LONGEST_TELLING);
        Ok(ConditionWatch::new(leases, self.alert_handlers()?, self.config.alerts.thresholds, lease))
    }

    /// Who tells people of dead letters, unless nobody is to.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn alerts(&self) -> Result<Option<Alerts>, Error> {
        let (settings, handlers) = (&self.config.alerts, self.alert_handlers()?);
        let config = AlertsConfig::default().per_minute(settings.per_minute).poll_interval(settings.poll_interval);
        let letters = Arc::new(self.dead_letters());
        Ok((!handlers.is_empty()).then(|| Alerts::new(letters, handlers, config)))
    }

    fn alert_handlers(&self) -> Result<Vec<Arc<dyn AlertHandler>>, Error> {
        let settings = &self.config.alerts;
        let mut handlers: Vec<Arc<dyn AlertHandler>> = Vec::new();
        if let Some(webhook) = &settings.webhook {
            let headers = webhook.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
            let config = WebhookConfig::new(webhook.url.expose()).headers(headers.collect()).timeout(webhook.timeout);
            handlers.push(Arc::new(Webhook::new(&config)?));
        }
        if settings.log {
            handlers.push(Arc::new(LogAlerts));
        }
        Ok(handlers)
    }

    /// What the documents of an index are made of.
    pub(crate) fn projection(&self, name: &str, index: &Index) -> PostgresProjection {
        let note = index.synced_at.as_ref().map(|note| SyncedAt::new(&note.table, &note.key, &note.column));
        PostgresProjection::new(self.database.clone(), Self::unnoted(name, index).synced_at(note))
    }

    /// The same for those who only read.
    pub(crate) fn read_projection(&self, name: &str, index: &Index) -> PostgresProjection {
        PostgresProjection::new(self.database.clone(), Self::unnoted(name, index))
    }

    /// The same, without a note in the rows that they are in the index.
    fn unnoted(name: &str, index: &Index) -> ProjectionConfig {
        ProjectionConfig::new(name, &index.topic, &index.projection.text)
    }

    /// The index itself.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn sink(&self, name: &str, index: &Index) -> Result<IndexSink, Error> {
        self.index_ends().sink(name, index)
    }

    fn index_ends(&self) -> IndexEnds {
        match self.config.indexer.sink {
            Sink::Elasticsearch => IndexEnds::Elasticsearch(Box::new(settings::elasticsearch(self.config))),
            Sink::Local => IndexEnds::Local(self.local.clone()),
        }
    }

    fn bus(&self) -> BusEnds {
        match self.config.relay.bus {
            Bus::Kafka => {
                BusEnds::Kafka(Box::new(settings::kafka(self.config)), self.config.kafka.group_instance_id.clone())
            }
            Bus::Direct => BusEnds::Direct(self.direct.clone()),
        }
    }
}

/// What time it is.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn retries(config: &Config) -> RetryPolicy {
    let Retries { attempts, first_delay, multiplier } = config.indexer.retries;
    RetryPolicy::new(attempts, first_delay, multiplier)
}

fn topics(config: &Config) -> BTreeSet<&str> {
    config.indexes.values().map(|index| index.topic.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use sync_core::adapter::docker::DockerConfig;
    use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSearcherConfig};
    use sync_core::adapter::kafka::TopicConfig;
    use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcherConfig, SagasConfig};
    use sync_core::repair::ReconcileConfig;
    use sync_core::saga::SagaConfig;
    use sync_core::search::SearchConfig;
    use sync_core::workspace::cleanup::CleanupConfig;

    use super::*;

    /// The documented file says them, so that they must not be others.
    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_adapters() {
        let config = Config::default();
        let wire = Wire::new(&config).unwrap();
        let (postgres, default) = (&config.postgres, PostgresConfig::default());
        assert_eq!((postgres.pool_size, postgres.connect_timeout), (default.pool_size, default.connect_timeout));
        assert_eq!(postgres.statement_timeout, default.statement_timeout);
        let (relay, default) = (&config.relay, SourceConfig::default());
        assert_eq!((relay.batch_events, relay.batch_bytes), (default.batch_events, default.batch_bytes));
        assert_eq!(relay.max_payload, default.max_payload);
        assert_eq!((relay.lease, relay.poll_interval), (default.lease, default.poll_interval));
        assert_eq!((relay.linger, relay.retention), (default.linger, default.retention));
        assert_eq!(settings::encoding(&config), RelayConfig::default().encoding);
        assert_eq!((&relay.subscription, relay.in_flight), (&default.subscription, RelayConfig::default().in_flight));
        let (indexer, default) = (&config.indexer, IndexerConfig::default());
        assert_eq!((indexer.batch_messages, indexer.batch_bytes), (default.batch_messages, default.batch_bytes));
        assert_eq!((indexer.in_flight, indexer.suspicious), (default.in_flight, default.suspicious));
        assert_eq!(retries(&config), default.retries);
        assert_eq!(config.reconcile.grace, ReconcileConfig::default().grace);
        let (alerts, default) = (&config.alerts, AlertsConfig::default());
        assert_eq!((alerts.per_minute, alerts.poll_interval), (default.per_minute, default.poll_interval));
        assert_eq!(settings::kafka(&config).topics, TopicConfig::default());
        assert_eq!(wire.transactor_names(), TransactorConfig::default());
        let (workspaces, saga) = (&config.workspaces, SagaConfig::default());
        assert_eq!((workspaces.concurrency, workspaces.attempts), (saga.concurrency, saga.attempts));
        assert_eq!((workspaces.step_timeout, workspaces.undo_patience), (saga.step_timeout, saga.undo_patience));
        assert_eq!(workspaces.lease, SagasConfig::default().lease);
        assert_eq!(workspaces.engine_timeout, DockerConfig::default().timeout);
        let (cleanup, default) = (workspaces.cleanup, CleanupConfig::default());
        assert_eq!((cleanup.interval, cleanup.grace), (default.interval, default.grace));
        assert_eq!(cleanup.suspicious, default.suspicious);
        assert_eq!(settings::elasticsearch(&config).request_timeout, ElasticsearchConfig::default().request_timeout);
        let (search, default) = (&config.search, SearchConfig::default());
        assert_eq!((search.budget, search.wait), (default.budget, default.wait));
        assert_eq!(searches::breaker(search), default.breaker);
        let default = ElasticsearchSearcherConfig::new("jobs");
        assert_eq!((search.budget, search.attempt), (default.budget, default.attempt));
        assert_eq!(search.postgres.max_lag, PostgresSearcherConfig::new("jobs", "jobs", "").max_lag);
    }
}
