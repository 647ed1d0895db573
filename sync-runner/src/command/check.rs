//! `check`: tries every connection and setting that these roles use, side by side, and says what to mend.

mod document;
mod elasticsearch;
mod finding;
mod indexes;
mod installed;
mod kafka;
mod local_index;
mod postgres;
mod workspaces;

use std::time::Duration;

use serde::Serialize;
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;

use self::finding::{Finding, Verdict};
use super::run::without_broker;
use crate::cli::{CheckArgs, RoleName};
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

/// The roles that use the bus, if only to tell how far they are behind there.
const ON_THE_BUS: [RoleName; 3] = [RoleName::Relay, RoleName::Indexer, RoleName::Admin];

/// Those that use the indexes.
const AT_INDEXES: [RoleName; 4] = [RoleName::Indexer, RoleName::Reconciler, RoleName::Search, RoleName::Admin];

/// Those that use the hosts of workspaces.
const ON_HOSTS: [RoleName; 2] = [RoleName::Workspaces, RoleName::Cleanup];

/// Runs all checks of what these roles use and prints a line for each.
pub(super) async fn check(config: &Config, args: &CheckArgs) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    let roles = args.roles.as_slice();
    let (database, bus, cluster, workspaces) = tokio::join!(
        in_time("postgres", postgres::check(config, &wire, roles)),
        async {
            match config.relay.bus {
                Bus::Kafka if any(roles, &ON_THE_BUS) => in_time("kafka", kafka::check(config, &wire, roles)).await,
                Bus::Kafka => Vec::new(),
                Bus::Direct if !any(roles, &ON_THE_BUS) => Vec::new(),
                Bus::Direct => vec![direct(roles)],
            }
        },
        async {
            if any(roles, &AT_INDEXES) {
                in_time("indexes", indexes::check(config, &wire, roles)).await
            } else {
                Vec::new()
            }
        },
        async { if any(roles, &ON_HOSTS) { workspaces::check(config, &wire).await } else { Vec::new() } },
    );
    let parts = [vec![settings(config)], database, bus, cluster, workspaces];
    let findings: Vec<_> = parts.into_iter().flatten().collect();
    let exit = findings.iter().map(Finding::exit).max().unwrap_or(Exit::Success);
    if args.output.json {
        render::json(&Report { ok: exit == Exit::Success, checks: &findings })?;
    } else {
        render::text(&lines(&findings))?;
    }
    Ok(exit)
}

/// Whether one of these is among the roles.
fn any(roles: &[RoleName], of: &[RoleName]) -> bool {
    roles.iter().any(|role| of.contains(role))
}

/// Whether these roles can be one process's where there is no broker.
fn direct(roles: &[RoleName]) -> Finding {
    match without_broker(roles) {
        Ok(()) => Finding::ok("relay", "bus", "direct: relay and indexer in one process"),
        Err(what) => {
            let error = Error::new(ErrorKind::Configuration, format!("relay.bus: {what}"));
            Finding::failed("relay", "bus", &error)
        }
    }
}

fn settings(config: &Config) -> Finding {
    match config.indexes.len() {
        0 => Finding::warning(
            "indexes",
            "settings",
            "none is configured: there is nothing for the indexer to do; add a section [indexes.NAME]",
        ),
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
