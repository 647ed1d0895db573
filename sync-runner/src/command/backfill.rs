//! `backfill`: every row of a projection into its index, with a view of how far it is.

use std::time::Instant;

use serde::Serialize;
use sync_core::Error;
use sync_core::port::{RunKind, Runs};
use sync_core::repair::{BackfillCounts, BackfillEnd};
use tokio_util::sync::CancellationToken;

use super::named_index;
use super::view::View;
use crate::cli::BackfillArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::wire::Wire;
use crate::{render, signals};

#[derive(Debug, Serialize)]
struct Report<'a> {
    index: &'a str,
    finished: bool,
    /// All of the run, those of before it was taken up included.
    rows: u64,
    applied: u64,
    stale: u64,
    parked: u64,
    /// Of these rows, how many were done before.
    resumed_at: Option<u64>,
    seconds: f64,
}

/// Goes on with the unfinished backfill of an index, or begins one.
pub(super) async fn backfill(config: &Config, args: &BackfillArgs) -> Result<Exit, Failure> {
    let (name, index) = named_index(config, &args.index)?;
    let wire = Wire::new(config)?;
    if args.restart {
        wire.runs().abandon(RunKind::Backfill, name).await?;
    }
    let backfill = wire.backfill(name, index, args.rate)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;
    let began = Instant::now();
    let (view, viewed) = (View::new(name, backfill.progress()), CancellationToken::new());
    let (ended, ()) = tokio::join!(
        async {
            let ended = backfill.run(shutdown.clone()).await;
            viewed.cancel();
            ended
        },
        view.show(&viewed),
    );
    let BackfillCounts { rows, applied, stale, parked, .. } = backfill.progress().counts();
    let report = Report {
        index: name,
        finished: ended.as_ref().is_ok_and(|ended| *ended == BackfillEnd::Finished),
        rows,
        applied,
        stale,
        parked,
        resumed_at: backfill.progress().resumed().map(|before| before.rows),
        seconds: began.elapsed().as_secs_f64(),
    };
    let ended = ended?;
    tell(&report, args.output.json)?;
    Ok(if ended == BackfillEnd::Finished { Exit::Success } else { Exit::Failed })
}

fn tell(report: &Report<'_>, json: bool) -> Result<(), Error> {
    if json {
        return render::json(report);
    }
    let Report { index, finished, rows, applied, stale, parked, resumed_at, seconds } = report;
    let here = rows - resumed_at.unwrap_or_default();
    let rate = here as f64 / seconds.max(0.001);
    let mut text = format!(
        "{index}: {} in {seconds:.1} s ({rate:.0}/s): {applied} new or newer, {stale} there already, {parked} parked",
        render::counted(*rows, "row")
    );
    if let Some(before) = resumed_at {
        text.push_str(&format!("; {before} of them were done before"));
    }
    if !finished {
        text.push_str("\nStopped. The same command goes on from here.");
    }
    if *parked > 0 {
        text.push_str(&format!("\nsync-runner dlq list --reader {index} tells why the index refused them."));
    }
    render::text(&text)
}
