//! `runs`: which long repairs were run, and what they did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use sync_core::port::{PastRun, RunKind, Runs};

use crate::cli::RunsArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

#[derive(Debug, Serialize)]
struct Listed {
    id: i64,
    kind: String,
    index: String,
    began_at: Timestamp,
    ended_at: Option<Timestamp>,
    state: &'static str,
    counts: BTreeMap<String, u64>,
}

impl From<PastRun> for Listed {
    fn from(past: PastRun) -> Self {
        let state = past.state.name();
        let PastRun { run, kind, index, ended_at, .. } = past;
        Self { id: run.id, kind, index, began_at: run.began_at, ended_at, state, counts: run.counts }
    }
}

/// Lists them, the newest first.
pub(super) async fn runs(config: &Config, args: &RunsArgs) -> Result<Exit, Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let runs = Wire::new(config)?.runs().list(args.index.as_deref(), limit).await?;
    let runs: Vec<_> = runs.into_iter().map(Listed::from).collect();
    if args.output.json {
        render::json(&serde_json::json!({ "runs": runs }))?;
    } else if runs.is_empty() {
        render::text("No runs.")?;
    } else {
        render::text(&render::table(["RUN", "KIND", "INDEX", "BEGAN", "STATE", "COUNTS"], runs.iter().map(cells)))?;
    }
    Ok(Exit::Success)
}

fn cells(run: &Listed) -> [String; 6] {
    // Of a backfill it is no fault that the index has something newer.
    let said = |name: &str| {
        if run.kind == RunKind::Backfill.name() && name == "stale" { "there already" } else { name }.to_owned()
    };
    let counts: Vec<_> = run.counts.iter().map(|(name, count)| format!("{} {count}", said(name))).collect();
    [
        run.id.to_string(),
        run.kind.clone(),
        run.index.clone(),
        format!("{:.0}", run.began_at),
        run.state.replace('_', " "),
        counts.join(", "),
    ]
}
