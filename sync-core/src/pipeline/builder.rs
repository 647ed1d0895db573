//! A pipeline is put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Pipeline, a_holder};
use crate::adapter::direct::DirectBus;
use crate::adapter::postgres::{
    LargePayload, Postgres, PostgresDeadLetters, PostgresProjection, PostgresSource, ProjectionConfig, SourceConfig,
    this_process,
};
use crate::adapter::{LogAlerts, SystemClock};
use crate::alerts::{Alerts, AlertsConfig};
use crate::error::{Error, ErrorKind};
use crate::indexer::{Indexer, IndexerConfig, Parking};
use crate::policy::holds_failures_of;
use crate::port::{AlertHandler, Inventory, Projection, Sink, Tracer, Versions};
use crate::relay::{Relay, RelayConfig};

/// As many batches of one index may be in work at the same time.
const PARTITIONS: i32 = 8;

/// A pipeline that is put together; [`build`](Self::build) makes it.
#[derive(Debug)]
#[must_use = "a pipeline is made by `build`"]
pub struct PipelineBuilder {
    database: Postgres,
    indexes: Vec<PipelineIndex>,
    source: SourceConfig,
    relay: RelayConfig,
    indexer: IndexerConfig,
    alerts: Vec<Arc<dyn AlertHandler>>,
    tracer: Option<Arc<dyn Tracer>>,
}

/// One index, what it follows, and what its documents are made of.
#[derive(Debug)]
pub(super) struct PipelineIndex {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) sink: Arc<dyn Sink>,
    /// The same two, where they can be compared.
    pub(super) compared: Option<(Arc<dyn Versions>, Arc<dyn Inventory>)>,
}

impl PipelineBuilder {
    pub(super) fn new(database: Postgres) -> Self {
        Self {
            database,
            indexes: Vec::new(),
            source: SourceConfig::default(),
            relay: RelayConfig::default(),
            indexer: IndexerConfig::default(),
            alerts: vec![Arc::new(LogAlerts)],
            tracer: None,
        }
    }

    /// Documents that this projection makes go to this index, when events of the projection's topic say that they changed.
    pub fn index(self, projection: ProjectionConfig, sink: Arc<dyn Inventory>) -> Self {
        let (name, topic) = (projection.index.clone(), projection.topic.clone());
        let rows = PostgresProjection::new(self.database.clone(), projection);
        self.compared_index_of(name, topic, Arc::new(rows), sink)
    }

    /// The same of a projection or a sink of your own. `name` is the index's, by which its dead letters call it. What is there is
    /// not compared: [`reconcile`](Pipeline::reconcile) takes only what was named by
    /// [`compared_index_of`](Self::compared_index_of).
    pub fn index_of(
        mut self,
        name: impl Into<String>,
        topic: impl Into<String>,
        projection: Arc<dyn Projection>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let (name, topic) = (name.into(), topic.into());
        self.indexes.push(PipelineIndex { name, topic, projection, sink, compared: None });
        self
    }

    /// The same of a projection that knows versions, and a sink that lists what it holds.
    pub fn compared_index_of(
        mut self,
        name: impl Into<String>,
        topic: impl Into<String>,
        rows: Arc<dyn Versions>,
        sink: Arc<dyn Inventory>,
    ) -> Self {
        let (name, topic) = (name.into(), topic.into());
        self.indexes.push(PipelineIndex {
            name,
            topic,
            projection: Arc::<dyn Versions>::clone(&rows),
            sink: Arc::<dyn Inventory>::clone(&sink),
            compared: Some((rows, sink)),
        });
        self
    }

    /// How the outbox is read. Its `topics` are those of the indexes, whatever it says. A second pipeline on the same database,
    /// of other indexes, needs a `subscription` of its own.
    pub fn source(self, source: SourceConfig) -> Self {
        Self { source, ..self }
    }

    /// How events are handed on.
    pub fn relay(self, relay: RelayConfig) -> Self {
        Self { relay, ..self }
    }

    /// How every index is written to.
    pub fn indexer(self, indexer: IndexerConfig) -> Self {
        Self { indexer, ..self }
    }

    /// Who is told of dead letters: the log, when this is not called.
    pub fn alerts(self, alerts: Vec<Arc<dyn AlertHandler>>) -> Self {
        Self { alerts, ..self }
    }

    /// Where it is told what is done for transactions that are traced: nowhere, when this is not called.
    pub fn tracer(self, tracer: Arc<dyn Tracer>) -> Self {
        Self { tracer: Some(tracer), ..self }
    }

    /// The pipeline. It does nothing until it is run.
    ///
    /// # Errors
    /// `Configuration` when no index is named, two have one name, or two follow one topic, which only one can without a broker;
    /// when one follows the topic in which what failed for another waits.
    pub fn build(self) -> Result<Pipeline, Error> {
        let Self { database, indexes, source, relay, indexer, alerts, tracer } = self;
        check(&indexes)?;
        let all: Vec<_> = indexes.iter().flat_map(|index| indexer.retries.topics(&index.topic)).collect();
        let capacity = source.batch_events.saturating_mul(relay.in_flight);
        let bus = DirectBus::new(all.iter().map(String::as_str), capacity, PARTITIONS);
        let letters = Arc::new(PostgresDeadLetters::new(database.clone()));
        let mut indexers = Vec::with_capacity(all.len());
        for PipelineIndex { name, topic, projection, sink, .. } in &indexes {
            for read in indexer.retries.topics(topic) {
                let parking =
                    Parking::new(name, topic, Arc::<PostgresDeadLetters>::clone(&letters), Arc::new(SystemClock));
                let parking = parking.with_bus(Arc::new(bus.clone()), false);
                let subscriber = Arc::new(bus.subscriber(&read)?);
                let of = Indexer::builder(subscriber, Arc::clone(projection), Arc::clone(sink), parking);
                indexers.push((name.clone(), of.config(indexer).tracer(tracer.clone()).build()));
            }
        }
        let topics = indexes.iter().map(|index| index.topic.clone()).collect();
        let subscription = source.subscription.clone();
        // Another pipeline of this process is another holder.
        let is_default = source.holder == this_process();
        let holder = if is_default { a_holder() } else { source.holder };
        // Its indexers read rows, not payloads.
        let source = SourceConfig { topics: Some(topics), holder, large_payload: LargePayload::Omit, ..source };
        let source = Arc::new(PostgresSource::new(database.clone(), source));
        let parked: Arc<PostgresDeadLetters> = Arc::clone(&letters);
        let relay = Relay::builder(subscription, Arc::<PostgresSource>::clone(&source), Arc::new(bus))
            .config(relay)
            .dead_letters(parked, Arc::new(SystemClock))
            .tracer(tracer)
            .build();
        let told: Arc<PostgresDeadLetters> = Arc::clone(&letters);
        let alerts = (!alerts.is_empty()).then(|| Alerts::new(told, alerts, AlertsConfig::default()));
        Ok(Pipeline { database, source, relay, indexes, indexers, letters, alerts })
    }
}

fn check(indexes: &[PipelineIndex]) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Configuration, what));
    if indexes.is_empty() {
        return wrong("the pipeline has no index: name one by `index`".to_owned());
    }
    let (mut names, mut topics) = (BTreeMap::new(), BTreeMap::new());
    for PipelineIndex { name, topic, .. } in indexes {
        if names.insert(name, ()).is_some() {
            return wrong(format!(
                "two indexes of the pipeline are called {name:?}: their dead letters could not be told apart"
            ));
        }
        if let Some(other) = topics.insert(topic, name) {
            let what = format!(
                "the indexes {other:?} and {name:?} both follow topic {topic:?}, which without a broker has one reader: watch the \
                 table for a topic of each"
            );
            return wrong(what);
        }
    }
    let all = || indexes.iter().map(|index| &index.topic);
    if let Some((topic, failed)) =
        all().find_map(|topic| all().find(|name| holds_failures_of(topic, name)).map(|name| (topic, name)))
    {
        return wrong(format!(
            "an index follows topic {failed:?}, where what fails of topic {topic:?} goes, which another one follows: call it otherwise"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::memory::MemorySink;
    use crate::adapter::postgres::PostgresConfig;

    fn wrong(indexes: &[(&str, &str)]) -> String {
        let database = Postgres::new(&PostgresConfig::new("postgres://nobody@127.0.0.1:1/none")).unwrap();
        let add = |builder: PipelineBuilder, (name, topic): &(&str, &str)| {
            builder.index(ProjectionConfig::new(*name, *topic, "select"), Arc::new(MemorySink::new()))
        };
        let error = indexes.iter().fold(Pipeline::builder(&database), add).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    }

    #[tokio::test]
    async fn what_could_not_work_is_refused_with_what_to_do() {
        assert!(wrong(&[]).contains("no index"));
        assert!(wrong(&[("a", "x"), ("a", "y")]).contains("are called \"a\""));
        assert!(wrong(&[("a", "x"), ("b", "x")]).contains("both follow topic \"x\""));
        assert!(wrong(&[("a", "x-retry-1000"), ("b", "x")]).contains("where what fails of topic \"x\" goes"));
    }
}
