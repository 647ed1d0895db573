//! What `check` asks of each system beside PostgreSQL.

use std::collections::BTreeSet;

use sync_core::Error;
use sync_core::adapter::elasticsearch::{self, ClusterReport};
use sync_core::adapter::kafka::{self, TopicReport, TransactionReport};
use sync_core::adapter::local_index::LocalReport;
use sync_core::policy::dead_letter_topic;

use super::{Wire, index_ends, retries, settings, topics};
use crate::config::Index;

impl Wire<'_> {
    /// Whether the brokers would let a relay publish exactly once.
    ///
    /// # Errors
    /// `Configuration`, `Denied`, `Unavailable`.
    pub(crate) async fn transactions(&self) -> Result<TransactionReport, Error> {
        kafka::check_transactions(&settings::kafka(self.config), &self.transactor_names()).await
    }

    /// How the directory of the indexes is.
    ///
    /// # Errors
    /// `Configuration`, `Denied`, `Unavailable`.
    pub(crate) async fn local_indexes(&self) -> Result<LocalReport, Error> {
        self.local.check().await
    }

    /// Whether an index in the directory, if it is there, can be read and is of the configured mapping.
    ///
    /// # Errors
    /// `Configuration`, `Denied`, `Unavailable`.
    pub(crate) async fn local_index(&self, name: &str, index: &Index) -> Result<(), Error> {
        self.local.check_index(index_ends::in_directory(name, index)).await
    }

    /// How the cluster is.
    ///
    /// # Errors
    /// `Configuration`, `Denied`, `Unavailable`.
    pub(crate) async fn cluster(&self) -> Result<ClusterReport, Error> {
        elasticsearch::check(&settings::elasticsearch(self.config)).await
    }

    /// The brokers, and the topics of all indexes; with those in which what failed goes, for whoever puts it there.
    ///
    /// # Errors
    /// `Configuration`, `Denied`, `Unavailable`.
    pub(crate) async fn topics(&self, of_failures: bool) -> Result<Vec<TopicReport>, Error> {
        let mut names: BTreeSet<_> = topics(self.config).into_iter().map(str::to_owned).collect();
        names.extend(self.config.relay.topics.iter().flatten().cloned());
        if of_failures {
            let retries = retries(self.config);
            let of = |topic| retries.topics(topic).into_iter().chain([dead_letter_topic(topic)]);
            names.extend(topics(self.config).into_iter().flat_map(of));
        }
        let names: Vec<_> = names.into_iter().collect();
        kafka::check(&settings::kafka(self.config), &names).await
    }
}
