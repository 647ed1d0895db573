//! `check`: tries every connection and setting, side by side, and says what to mend.

mod elasticsearch;
mod finding;
mod kafka;
mod postgres;
mod workspaces;

use std::time::Duration;

use serde::Serialize;
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;

use self::finding::{Finding, Verdict};
use crate::cli::JsonArgs;
use crate::config::{Bus, Config, show_duration};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

/// How long one system may take for all its checks.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Finding],
}

/// Runs all checks and prints a line for each.
pub(super) async fn check(config: &Config, args: &JsonArgs) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    let (database, bus, cluster, workspaces) = tokio::join!(
        in_time("postgres", postgres::check(config, &wire)),
        async {
            match config.relay.bus {
                Bus::Kafka => in_time("kafka", kafka::check(config, &wire)).await,
                Bus::Direct => vec![Finding::ok("relay", "bus", "direct: relay and indexer in one process")],
            }
        },
        in_time("elasticsearch", elasticsearch::check(config, &wire)),
        workspaces::check(config, &wire),
    );
    let parts = [vec![settings(config)], database, bus, cluster, workspaces];
    let findings: Vec<_> = parts.into_iter().flatten().collect();
    let exit = findings.iter().map(Finding::exit).max().unwrap_or(Exit::Success);
    if args.json {
        render::json(&Report { ok: exit == Exit::Success, checks: &findings })?;
    } else {
        render::text(&lines(&findings))?;
    }
    Ok(exit)
}

fn settings(config: &Config) -> Finding {
    match config.indexes.len() {
        0 => Finding::warning("indexes", "settings", "none is configured: there is nothing for the indexer to do"),
        _ => {
            let names: Vec<_> = config.indexes.keys().map(String::as_str).collect();
            Finding::ok("indexes", "settings", names.join(", "))
        }
    }
}

async fn in_time(part: &str, checks: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    timeout(PATIENCE, checks).await.unwrap_or_else(|_| {
        let what = format!("{part}: no answer within {}", show_duration(PATIENCE));
        vec![Finding::failed(part, "time", &Error::new(ErrorKind::Unavailable, what))]
    })
}

fn lines(findings: &[Finding]) -> String {
    let table = render::table(["RESULT", "PART", "CHECK", "FOUND"], findings.iter().map(Finding::cells));
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count() as u64;
    let warnings = render::counted(count(Verdict::Warning), "warning");
    format!("{table}\n\n{} ok, {warnings}, {} failed", count(Verdict::Ok), count(Verdict::Failed))
}
