//! The indexers of one index: one for its topic, and one for each topic in which what failed waits to be tried again.

use std::sync::Arc;

use sync_core::Error;
use sync_core::indexer::{Indexer, IndexerConfig, Parking};
use sync_core::policy::{retry_delay, retry_topic};
use sync_core::port::{Clock, DeadLetters, Projection, Sink, Subscriber, Tracer};

use super::bus_ends::BusEnds;

/// Makes the indexers of one index.
#[derive(Clone, Debug)]
pub(crate) struct IndexersOf {
    /// The index, as its dead letters and retries name it.
    pub(super) name: String,
    /// The topic it follows.
    pub(super) topic: String,
    /// Who reads it; the groups of the retry topics have names that begin so.
    pub(super) group: String,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) letters: Arc<dyn DeadLetters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) bus: BusEnds,
    pub(super) config: IndexerConfig,
    /// Where it is told what was done for traced transactions.
    pub(super) tracer: Option<Arc<dyn Tracer>>,
}

/// An indexer, and what it reads.
#[derive(Debug)]
pub(crate) struct IndexerOf {
    /// The topic.
    pub(crate) topic: String,
    /// Not running yet.
    pub(crate) indexer: Indexer,
    /// The topic's messages.
    pub(crate) subscriber: Arc<dyn Subscriber>,
}

impl IndexersOf {
    /// Those of the topic, which is the first, and of the retry topics that are in use.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn configured(&self) -> Result<Vec<IndexerOf>, Error> {
        self.config.retries.topics(&self.topic).into_iter().map(|topic| self.indexer(topic)).collect()
    }

    /// Those of retry topics that earlier settings used: what waits there would wait for ever.
    ///
    /// # Errors
    /// `Denied`, `Configuration`, `Unavailable`.
    pub(crate) async fn of_earlier_settings(&self) -> Result<Vec<IndexerOf>, Error> {
        self.earlier_topics().await?.map(|topic| self.indexer(topic)).collect()
    }

    /// What all of them read, the index's own topic first.
    ///
    /// # Errors
    /// `Denied`, `Configuration`, `Unavailable`.
    pub(crate) async fn subscribers(&self) -> Result<Vec<Arc<dyn Subscriber>>, Error> {
        let topics = self.config.retries.topics(&self.topic).into_iter();
        topics.chain(self.earlier_topics().await?).map(|topic| self.subscriber(&topic)).collect()
    }

    async fn earlier_topics(&self) -> Result<impl Iterator<Item = String>, Error> {
        let present = self.config.retries.delays();
        let topics = self.bus.retry_topics(&self.topic).await?.into_iter();
        Ok(topics.filter(move |topic| retry_delay(&self.topic, topic).is_some_and(|delay| !present.contains(&delay))))
    }

    fn subscriber(&self, topic: &str) -> Result<Arc<dyn Subscriber>, Error> {
        let group = match retry_delay(&self.topic, topic) {
            Some(delay) => retry_topic(&self.group, delay),
            None => self.group.clone(),
        };
        self.bus.subscriber(&group, topic)
    }

    fn indexer(&self, topic: String) -> Result<IndexerOf, Error> {
        let subscriber = self.subscriber(&topic)?;
        let parking = Parking::new(&self.name, &self.topic, Arc::clone(&self.letters), Arc::clone(&self.clock))
            .with_bus(self.bus.publisher()?, self.bus.notes_letters());
        let (projection, sink) = (Arc::clone(&self.projection), Arc::clone(&self.sink));
        let indexer = Indexer::builder(Arc::clone(&subscriber), projection, sink, parking);
        let indexer = indexer.config(self.config).tracer(self.tracer.clone()).build();
        Ok(IndexerOf { topic, indexer, subscriber })
    }
}
