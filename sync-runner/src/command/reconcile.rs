//! `reconcile`: indexes compared with the database, now.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use sync_core::repair::{Difference, DifferenceKind, ReconcileCounts, ReconcileEnd, ReconcileScope};
use sync_core::{Error, Version};
use tokio_util::sync::CancellationToken;

use super::named_index;
use super::view::View;
use crate::cli::ReconcileArgs;
use crate::config::{Config, Index};
use crate::exit::{Exit, Failure};
use crate::wire::Wire;
use crate::{render, signals};

#[derive(Debug, Serialize)]
struct Report<'a> {
    index: &'a str,
    finished: bool,
    dry_run: bool,
    /// Only what changed since then was compared; nothing when all was.
    since: Option<Timestamp>,
    compared: u64,
    sampled: u64,
    listed: u64,
    missing: u64,
    stale: u64,
    orphan: u64,
    ahead: u64,
    drifted: u64,
    in_flight: u64,
    dead_lettered: u64,
    unreadable: u64,
    fixed: u64,
    parked: u64,
    unrepaired: u64,
    examples: Vec<Example>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Example {
    key: String,
    kind: &'static str,
    /// As Elasticsearch's `_version`.
    database: u64,
    index: Option<u64>,
    #[serde(skip)]
    found: Difference,
}

/// Compares the named indexes, or all, one after the other.
pub(super) async fn reconcile(config: &Config, args: &ReconcileArgs) -> Result<Exit, Failure> {
    let named = if args.indexes.is_empty() {
        config.indexes.iter().map(|(name, index)| (name.as_str(), index)).collect()
    } else {
        args.indexes.iter().map(|name| named_index(config, name)).collect::<Result<Vec<_>, _>>()?
    };
    let wire = Wire::new(config)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;
    let now = Timestamp::now();
    let lately = now.checked_sub(config.reconcile.window).unwrap_or(Timestamp::UNIX_EPOCH);
    let since = (!args.full).then(|| args.since.map_or(lately, |since| since.seen_from(now)));
    let scope = ReconcileScope::default().since(since).deep(args.deep).dry_run(args.dry_run);
    let mut told = Vec::with_capacity(named.len());
    for (name, index) in named {
        let report = one(&wire, name, index, args, &scope, &shutdown).await;
        told.push((name, report.map_err(Failure::from)));
        if shutdown.is_cancelled() {
            break;
        }
    }
    tell(&told, args.output.json)?;
    let exit = |(_, report): &(&str, Result<Report<'_>, Failure>)| match report {
        Ok(report) if report.is_well() => Exit::Success,
        Ok(_) => Exit::Failed,
        Err(failure) => failure.exit(),
    };
    Ok(told.iter().map(exit).max().unwrap_or(Exit::Success))
}

/// What was found of one index is told also where another one failed.
fn tell(told: &[(&str, Result<Report<'_>, Failure>)], json: bool) -> Result<(), Error> {
    if json {
        let told = told.iter().map(|(name, report)| match report {
            Ok(report) => serde_json::json!(report),
            Err(failure) => {
                let mut failed = failure.to_json();
                failed["index"] = serde_json::json!(name);
                failed
            }
        });
        return render::json(&serde_json::json!({ "reconciled": told.collect::<Vec<_>>() }));
    }
    let told: Vec<_> = told
        .iter()
        .map(|(name, report)| match report {
            Ok(report) => lines(report),
            Err(failure) => format!("{name}: {failure}"),
        })
        .collect();
    render::text(if told.is_empty() { "No index is configured.".to_owned() } else { told.join("\n") }.as_str())
}

async fn one<'a>(
    wire: &Wire<'_>,
    name: &'a str,
    index: &Index,
    args: &ReconcileArgs,
    scope: &ReconcileScope,
    shutdown: &CancellationToken,
) -> Result<Report<'a>, Error> {
    let reconcile = wire.reconcile(name, index, args.rate)?;
    let began = Instant::now();
    let (view, viewed) = (View::new(name, reconcile.progress()), CancellationToken::new());
    let (ended, ()) = tokio::join!(
        async {
            let ended = reconcile.run(scope, shutdown.clone()).await;
            viewed.cancel();
            ended
        },
        view.show(&viewed),
    );
    let finished = ended? == ReconcileEnd::Finished;
    let counts = reconcile.progress().counts();
    let of = |kind| counts.of(kind);
    let ReconcileCounts {
        compared,
        sampled,
        listed,
        in_flight,
        dead_lettered,
        unreadable,
        fixed,
        parked,
        unrepaired,
        ..
    } = counts;
    Ok(Report {
        index: name,
        finished,
        dry_run: scope.dry_run,
        since: scope.since,
        compared,
        sampled,
        listed,
        missing: of(DifferenceKind::Missing),
        stale: of(DifferenceKind::Stale),
        orphan: of(DifferenceKind::Orphan),
        ahead: of(DifferenceKind::Ahead),
        drifted: of(DifferenceKind::Drifted),
        in_flight,
        dead_lettered,
        unreadable,
        fixed,
        parked,
        unrepaired,
        examples: reconcile.progress().found().into_iter().map(Example::from).collect(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

impl From<Difference> for Example {
    fn from(found: Difference) -> Self {
        let Difference { key, kind, database, index, .. } = found.clone();
        Self { key, kind: kind.name(), database: database.external(), index: index.map(Version::external), found }
    }
}

impl Report<'_> {
    fn differing(&self) -> u64 {
        self.missing + self.stale + self.orphan + self.ahead + self.drifted
    }

    fn is_well(&self) -> bool {
        self.finished && self.parked + self.unrepaired + self.unreadable == 0 && !(self.dry_run && self.differing() > 0)
    }
}

fn lines(report: &Report<'_>) -> String {
    let Report { index, compared, listed, sampled, seconds, .. } = report;
    let since = report.since.map(|since| format!(" that changed since {since:.0}")).unwrap_or_default();
    let rate = (compared + listed) as f64 / seconds.max(0.001);
    let mut text = format!(
        "{index}: {}{since} and {} compared in {seconds:.1} s ({rate:.0}/s), the content of {sampled}",
        render::counted(*compared, "key"),
        render::counted(*listed, "document")
    );
    let kinds = [
        ("missing", report.missing),
        ("stale", report.stale),
        ("orphaned", report.orphan),
        ("ahead", report.ahead),
        ("drifted", report.drifted),
    ];
    let kinds: Vec<_> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    text.push_str(&match (kinds.is_empty(), report.dry_run) {
        (true, _) => "\n  nothing differs".to_owned(),
        (false, true) => format!("\n  {}; a dry run: nothing was put right", kinds.join(", ")),
        (false, false) => format!("\n  {}; {} put right", kinds.join(", "), report.fixed),
    });
    let apart = [
        (report.in_flight, "changed just now and may be on their way"),
        (report.dead_lettered, "are dead letters already: `sync-runner dlq list` tells why"),
        (report.unreadable, "have a row the projection fails on; the log names them"),
        (report.parked, "were refused by the index: `sync-runner dlq list` tells why"),
        (report.unrepaired, "could not be put right; the log names them"),
    ];
    for (count, what) in apart.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("\n  {count} {what}"));
    }
    for Example { kind, found: Difference { key, database, index, .. }, .. } in &report.examples {
        let held = index.map_or_else(|| "nothing".to_owned(), |version| format!("version {version}"));
        text.push_str(&format!("\n    {kind} {key:?}: version {database} in the database, {held} in the index"));
    }
    if !report.finished {
        text.push_str("\n  Stopped before all was compared.");
    }
    text
}
