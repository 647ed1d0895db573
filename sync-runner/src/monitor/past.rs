//! What was done lately, and what is kept ready.

use std::collections::BTreeMap;

use sync_core::Error;
use sync_core::port::{PastRun, PastSaga, Runs as _, SagaOutcome, Sagas as _};
use sync_core::workspace::{CREATE, DELETE};

use crate::config::Config;
use crate::outbox;
use crate::report::{Told, in_time};
use crate::wire::Wire;

/// Runs that are shown.
const RUNS: usize = 50;

/// Sagas that are looked at.
const SAGAS: usize = 500;

/// What was done lately.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) runs: Told<Vec<PastRun>>,
    /// By state; `None` where no host is configured.
    pub(super) workspaces: Option<Told<BTreeMap<&'static str, u64>>>,
    pub(super) leaves_ahead: Told<i64>,
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

/// Of each workspace the saga that was begun last.
async fn workspaces(wire: &Wire<'_>) -> Result<BTreeMap<&'static str, u64>, Error> {
    let of = wire.workspaces()?;
    let mut last: BTreeMap<String, &'static str> = BTreeMap::new();
    for past in of.sagas.list(None, SAGAS).await? {
        if let Some(state) = state(&past) {
            last.entry(past.saga.subject).or_insert(state);
        }
    }
    let mut states = BTreeMap::from(["creating", "ready", "deleting", "failed"].map(|state| (state, 0)));
    for state in last.into_values().filter(|state| *state != "deleted") {
        *states.entry(state).or_default() += 1;
    }
    Ok(states)
}

fn state(past: &PastSaga) -> Option<&'static str> {
    match (past.saga.kind.as_str(), past.outcome) {
        (CREATE, None) => Some("creating"),
        (CREATE, Some(SagaOutcome::Done)) => Some("ready"),
        (CREATE, Some(SagaOutcome::Compensated)) => Some("failed"),
        (DELETE, None) => Some("deleting"),
        (DELETE, Some(_)) => Some("deleted"),
        _ => None,
    }
}
