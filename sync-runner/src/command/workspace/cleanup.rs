//! `workspace cleanup`: one round, now.

use serde_json::json;
use sync_core::Error;
use sync_core::workspace::cleanup::Report;

use crate::cli::WorkspaceCleanupArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

/// Removes what nobody owns, or tells what it would.
pub(super) async fn cleanup(config: &Config, wire: &Wire<'_>, args: &WorkspaceCleanupArgs) -> Result<Exit, Failure> {
    let suspicious = if args.force { usize::MAX } else { config.workspaces.cleanup.suspicious };
    let report = wire.cleanup(suspicious)?.round(args.dry_run).await?;
    if args.output.json {
        let mut told = json!(report);
        told["dry_run"] = json!(args.dry_run);
        render::json(&told)?;
    } else {
        tell(&report, args.dry_run)?;
    }
    Ok(if report.failed.is_empty() { Exit::Success } else { Exit::Failed })
}

fn tell(report: &Report, is_dry: bool) -> Result<(), Error> {
    let verb = if is_dry { "would be removed" } else { "removed" };
    let mut lines: Vec<_> = report.removed.iter().map(|orphan| format!("{verb}: the {orphan}")).collect();
    lines.extend(
        report.waiting.iter().map(|workspace| format!("left alone for now: workspace {workspace} is unknown so far")),
    );
    lines.extend(report.failed.iter().map(|failed| format!("failed: {failed}")));
    if lines.is_empty() {
        lines.push("Nothing is left of any workspace.".to_owned());
    }
    render::text(&lines.join("\n"))
}
