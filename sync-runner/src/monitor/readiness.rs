//! Whether this process can do its work, and if not, why.

use std::time::Duration;

use tokio::time::Instant;

use super::Local;
use crate::cli::RoleName;
use crate::config::{Bus, Config};
use crate::report::{Report, Told};

/// How many looks may be missing.
const LOOKS: u32 = 6;

/// Whether this process can do its work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    /// When that was seen; never, at first.
    seen: Option<(Instant, Duration)>,
    /// What is in the way.
    problems: Vec<String>,
}

impl Readiness {
    /// What is in the way of these roles. Searches go on while one of index and database answers.
    pub(super) fn of(report: &Report, local: &Local, config: &Config, now: Instant) -> Self {
        let runs = |role: RoleName| local.process.has(role);
        let mut problems = Vec::new();
        let database = refusal("outbox", &report.outbox);
        let buses: Vec<_> =
            report.bus.iter().filter_map(|(name, told)| refusal(&format!("bus of {name}"), told)).collect();
        let indexes: Vec<_> =
            report.indexes.iter().filter_map(|(name, told)| refusal(&format!("index {name}"), told)).collect();
        let is_only_search = !local.process.does_more_than_search();
        if !is_only_search || !indexes.is_empty() {
            problems.extend(database);
        }
        if config.relay.bus == Bus::Kafka && (runs(RoleName::Relay) || runs(RoleName::Indexer)) {
            problems.extend(buses);
        }
        if runs(RoleName::Indexer) || (is_only_search && !problems.is_empty()) {
            problems.extend(indexes);
        }
        for (name, indexer) in &local.indexers {
            for (partition, stopped) in indexer.partitions_stopped() {
                problems.push(format!("index {name}: {partition} stopped: {}", stopped.error));
            }
        }
        Self { seen: Some((now, config.admin.interval)), problems }
    }

    /// What is in the way now; nothing when all is well.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Some((at, interval)) = self.seen else { return vec!["nothing was looked at yet".to_owned()] };
        let age = at.elapsed();
        let mut problems = self.problems.clone();
        // A look may take as long as its slowest stage.
        if age > interval * LOOKS + Duration::from_secs(30) {
            problems.push(format!("nothing was looked at for {} s", age.as_secs()));
        }
        problems
    }
}

fn refusal<T>(what: &str, told: &Told<T>) -> Option<String> {
    match told {
        Told::Said(_) => None,
        Told::Failed { error } => Some(format!("{what}: {}", error.message)),
    }
}
