//! Whether this process can do its work, and if not, why.

use tokio::time::Instant;

use super::Local;
use crate::cli::RoleName;
use crate::config::{Bus, Config};
use crate::report::{Answer, LONGEST_LOOK, Report};

/// How many looks may be missing.
const LOOKS: u32 = 6;

/// Whether this process can do its work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    /// Until then what was seen holds; it is never looked, at first.
    holds_until: Option<Instant>,
    is_ready: bool,
    problems: Vec<String>,
}

impl Readiness {
    /// What is in the way of these roles. Who searches is ready while one of database and index answers, whatever else is in
    /// the way of its other roles: nobody else's requests depend on those. A partition that waits for a person is told, and
    /// keeps nobody from working on the others.
    pub(super) fn of(report: &Report, local: &Local, config: &Config, now: Instant) -> Self {
        let has = |role: RoleName| local.process.has(role);
        let database = refusal("outbox", &report.outbox);
        let buses = report.bus.iter().filter_map(|(name, answer)| refusal(&format!("bus of {name}"), answer));
        let indexes: Vec<_> =
            report.indexes.iter().filter_map(|(name, answer)| refusal(&format!("index {name}"), answer)).collect();
        let is_search_answered = database.is_none() || indexes.is_empty();
        let mut problems: Vec<_> = database.into_iter().collect();
        if config.relay.bus == Bus::Kafka && (has(RoleName::Relay) || has(RoleName::Indexer)) {
            problems.extend(buses);
        }
        if has(RoleName::Indexer) || has(RoleName::Search) {
            problems.extend(indexes);
        }
        let is_ready = if has(RoleName::Search) { is_search_answered } else { problems.is_empty() };
        for (name, indexer) in &local.indexers {
            for (partition, stopped) in indexer.partitions_stopped() {
                problems.push(format!("index {name}: {partition} stopped: {}", stopped.error));
            }
        }
        Self { holds_until: Some(now + config.admin.interval * LOOKS + LONGEST_LOOK), is_ready, problems }
    }

    /// Whether it can at this moment, and what is in the way of something.
    pub(crate) fn at(&self, now: Instant) -> (bool, Vec<String>) {
        match self.holds_until {
            None => (false, vec!["nothing was looked at yet".to_owned()]),
            Some(until) if until < now => {
                let late = "nothing was looked at for long".to_owned();
                (false, self.problems.iter().cloned().chain([late]).collect())
            }
            Some(_) => (self.is_ready, self.problems.clone()),
        }
    }
}

fn refusal<T>(what: &str, answer: &Answer<T>) -> Option<String> {
    Some(format!("{what}: {}", answer.refusal()?.message))
}
