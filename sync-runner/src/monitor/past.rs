//! What was done lately, and what is kept ready.

use std::collections::BTreeMap;

use sync_core::Error;
use sync_core::port::{PastRun, Placements as _, Runs as _, Sagas as _};

use crate::config::Config;
use crate::outbox;
use crate::report::{Answer, in_time};
use crate::wire::Wire;
use crate::workspaces::{STATES, is_about_workspaces, state};

/// Runs that are looked at; the page shows fewer.
const RUNS: usize = 200;

/// Sagas that are looked at, the newest.
const SAGAS: usize = 500;

/// How many workspaces there are.
#[derive(Debug)]
pub(super) struct WorkspaceCounts {
    /// By state.
    pub(super) states: BTreeMap<&'static str, u64>,
    /// Sagas under way, by kind.
    pub(super) unfinished: BTreeMap<String, u64>,
}

/// What was done lately.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) runs: Answer<Vec<PastRun>>,
    /// `None` where no host is configured.
    pub(super) workspaces: Option<Answer<WorkspaceCounts>>,
    pub(super) leaves_ahead: Answer<i64>,
}

impl Past {
    pub(super) async fn ask(config: &Config, wire: &Wire<'_>) -> Self {
        let runs = async { wire.runs().list(None, RUNS).await };
        let workspaces =
            async { if config.workspaces.hosts.is_empty() { None } else { Some(in_time(workspaces(wire)).await) } };
        let (runs, workspaces, leaves_ahead) =
            tokio::join!(in_time(runs), workspaces, in_time(outbox::leaves_ahead(wire.database())));
        Self { runs, workspaces, leaves_ahead }
    }
}

/// Of each workspace the saga that was begun last, as far as they are looked at; of those under way all.
async fn workspaces(wire: &Wire<'_>) -> Result<WorkspaceCounts, Error> {
    let of = wire.workspaces()?;
    let (past, placements) = tokio::try_join!(of.sagas.list(None, SAGAS), of.placements.list())?;
    let mut last: BTreeMap<&str, &'static str> = BTreeMap::new();
    for past in past.iter().filter(|past| is_about_workspaces(past)) {
        let placement = placements.iter().find(|placement| placement.workspace == past.saga.subject);
        last.entry(&past.saga.subject).or_insert_with(|| state(past, placement));
    }
    let mut states: BTreeMap<_, _> = STATES.map(|state| (state, 0)).into();
    for state in last.into_values() {
        *states.entry(state).or_default() += 1;
    }
    Ok(WorkspaceCounts { states, unfinished: outbox::unfinished_sagas(wire.database()).await? })
}
