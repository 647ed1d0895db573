//! What answers searches of an index.

use std::sync::Arc;

use sync_core::Error;
use sync_core::adapter::postgres::{Postgres, PostgresProjection, PostgresSearcher, PostgresSearcherConfig};
use sync_core::policy::BreakerConfig;
use sync_core::search::{Search, SearchConfig};

use super::index_ends::SearchTimes;
use super::{Wire, settings};
use crate::config::{self, Index, Searchable};

impl Wire<'_> {
    /// What searches an index, and the database when the index is away.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn search(&self, name: &str, index: &Index, searchable: &Searchable) -> Result<Search, Error> {
        let settings = &self.config.search;
        let times = SearchTimes { budget: settings.budget, attempt: settings.attempt };
        let searcher = self.index_ends().searcher(name, index, Arc::clone(&searchable.fields), times)?;
        let database = Arc::new(self.searched_rows(name, index, searchable)?);
        // With patience and connections of their own: what was written is asked for while somebody waits.
        let rows = Postgres::new(&settings::search_primary(self.config))?;
        let rows = Arc::new(PostgresProjection::new(rows, Self::unnoted(name, index)));
        let config = SearchConfig::default().breaker(breaker(settings)).budget(settings.budget).wait(settings.wait);
        Ok(Search::new(name, searcher, database, rows, config))
    }

    /// What searches the rows an index is made of.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn searched_rows(
        &self,
        name: &str,
        index: &Index,
        searchable: &Searchable,
    ) -> Result<PostgresSearcher, Error> {
        let config = PostgresSearcherConfig::new(name, &index.topic, &index.projection.text)
            .language(&searchable.language)
            .max_lag(self.config.search.postgres.max_lag);
        let (primary, replicas) = (settings::search_primary(self.config), settings::replicas(self.config));
        PostgresSearcher::new(&primary, &replicas, &config, Arc::clone(&searchable.fields))
    }
}

/// When the index is left alone.
pub(super) fn breaker(settings: &config::Search) -> BreakerConfig {
    let config::Breaker { window, failure_percent, open_for, probes, slow, recover_for } = settings.breaker;
    BreakerConfig::default()
        .window(window)
        .failure_rate(f64::from(failure_percent) / 100.0)
        .open_for(open_for)
        .probes(probes)
        .slow(slow)
        .recover_for(recover_for)
}
