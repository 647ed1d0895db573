//! What takes documents and finds them: a cluster, or a directory of this machine.

use std::sync::Arc;
use std::time::Duration;

use sync_core::Error;
use sync_core::adapter::elasticsearch::{
    ElasticsearchConfig, ElasticsearchIndexes, ElasticsearchSearcher, ElasticsearchSearcherConfig, ElasticsearchSink,
    IndexConfig,
};
use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalIndexes, LocalSearcher, LocalSink};
use sync_core::port::{ConcreteIndexes, Inventory, Searcher};
use sync_core::query::Fields;

use crate::config::Index;

/// Where all indexes are, connected to nothing yet.
#[derive(Clone, Debug)]
pub(super) enum IndexEnds {
    /// In a cluster.
    Elasticsearch(Box<ElasticsearchConfig>),
    /// In a directory.
    Local(LocalDirectory),
}

/// How long a search may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchTimes {
    /// In all.
    pub(super) budget: Duration,
    /// At one node, before another one is asked as well.
    pub(super) attempt: Duration,
}

impl IndexEnds {
    /// What takes the documents of an index.
    pub(super) fn sink(&self, name: &str, index: &Index) -> Result<IndexSink, Error> {
        Ok(match self {
            Self::Elasticsearch(cluster) => {
                IndexSink::Elasticsearch(Arc::new(ElasticsearchSink::new(cluster, in_cluster(name, index))?))
            }
            Self::Local(indexes) => IndexSink::Local(Arc::new(LocalSink::new(indexes, in_directory(name, index))?)),
        })
    }

    /// The same of one concrete index.
    pub(super) fn concrete_sink(&self, name: &str, index: &Index, concrete: &str) -> Result<Arc<dyn Inventory>, Error> {
        Ok(match self {
            Self::Elasticsearch(cluster) => {
                Arc::new(ElasticsearchSink::of_concrete(cluster, in_cluster(name, index), concrete)?)
            }
            Self::Local(indexes) => Arc::new(LocalSink::of_concrete(indexes, in_directory(name, index), concrete)?),
        })
    }

    /// The concrete indexes of an index; a new one is made of `mapping`.
    pub(super) fn concrete_indexes(
        &self,
        name: &str,
        index: &Index,
        mapping: &str,
    ) -> Result<Arc<dyn ConcreteIndexes>, Error> {
        Ok(match self {
            Self::Elasticsearch(cluster) => {
                Arc::new(ElasticsearchIndexes::new(cluster, in_cluster(name, index), mapping)?)
            }
            Self::Local(indexes) => {
                let config = LocalIndexConfig::new(name, mapping).alias(&index.alias);
                Arc::new(LocalIndexes::new(indexes, config)?)
            }
        })
    }

    /// What finds the documents of an index.
    pub(super) fn searcher(
        &self,
        name: &str,
        index: &Index,
        fields: Arc<Fields>,
        times: SearchTimes,
    ) -> Result<Arc<dyn Searcher>, Error> {
        Ok(match self {
            Self::Elasticsearch(cluster) => {
                let SearchTimes { budget, attempt } = times;
                let config = ElasticsearchSearcherConfig::new(&index.alias).budget(budget).attempt(attempt);
                Arc::new(ElasticsearchSearcher::new(cluster, config, fields)?)
            }
            Self::Local(indexes) => Arc::new(LocalSearcher::new(indexes, in_directory(name, index), fields)?),
        })
    }
}

fn in_cluster(name: &str, index: &Index) -> IndexConfig {
    IndexConfig::new(name, index.mapping_text()).alias(&index.alias)
}

pub(super) fn in_directory(name: &str, index: &Index) -> LocalIndexConfig {
    LocalIndexConfig::new(name, index.mapping_text()).alias(&index.alias)
}

/// What takes the documents of one index.
#[derive(Clone, Debug)]
pub(crate) enum IndexSink {
    /// In a cluster.
    Elasticsearch(Arc<ElasticsearchSink>),
    /// In a directory.
    Local(Arc<LocalSink>),
}

impl IndexSink {
    /// As a port.
    pub(crate) fn inventory(&self) -> Arc<dyn Inventory> {
        match self {
            Self::Elasticsearch(sink) => Arc::clone(sink) as Arc<dyn Inventory>,
            Self::Local(sink) => Arc::clone(sink) as Arc<dyn Inventory>,
        }
    }

    /// How many documents there are; `None` when there is no such index. Makes none.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub(crate) async fn documents(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Elasticsearch(sink) => sink.documents().await,
            Self::Local(sink) => sink.documents().await,
        }
    }

    /// Whether the configured mapping can be understood. Nothing is made of it.
    ///
    /// # Errors
    /// `Configuration` when it cannot; `Unavailable`, `Denied`.
    pub(crate) async fn check_mapping(&self) -> Result<(), Error> {
        match self {
            Self::Elasticsearch(sink) => sink.check_mapping().await,
            // It was, when the sink was made.
            Self::Local(_) => Ok(()),
        }
    }

    /// For how long it is known that a document was deleted, where that can be set.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub(crate) async fn remembers_deletes(&self) -> Result<Option<String>, Error> {
        match self {
            Self::Elasticsearch(sink) => sink.remembers_deletes().await,
            Self::Local(_) => Ok(None),
        }
    }
}
