//! An index that holds what its table holds, compared key by key both ways; then with one document in a hundred lost.

use super::BOUND;
use crate::board::Board;
use crate::cli::Options;
use crate::index::Index;
use crate::stage::Stage;
use crate::{Outcome, jobs, ours};

/// Rows of the table.
const SIZE: u64 = 1_000_000;

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("reconcile", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let client = stage.database().await?;
    jobs::fill(stage, &client, size).await?;
    client.execute("select outbox.emit_many($1, array(select id::text from public.jobs))", &[&stage.name]).await?;
    client.batch_execute("vacuum analyze outbox.versions").await?;
    let mut settings = jobs::settings(&stage.name, &stage.name);
    // Everything changed just now.
    settings.push("reconcile.grace=0s".to_owned());
    settings.extend_from_slice(&options.set);
    ours::command(stage, &["backfill", "jobs"], &settings)?.until_done(size, BOUND).await?;
    let index = Index::new(stage, &stage.name);
    index.holds(size).await?;

    let mut board = Board::new("reconcile", options.json);
    // The first turns warm the servers, and are not counted.
    for round in 0..=options.rounds {
        for (what, arguments) in [
            ("ours", &["reconcile", "jobs", "--full"][..]),
            ("ours:deep", &["reconcile", "jobs", "--full", "--deep"]),
            ("ours:lately", &["reconcile", "jobs", "--since", "48h"]),
        ] {
            let figures = ours::command(stage, arguments, &settings)?.until_done(size, BOUND).await?;
            if round > 0 {
                board.add(what, round, figures);
            }
        }
        let lost = index.delete_some(size / 100).await?;
        let figures =
            ours::command(stage, &["reconcile", "jobs", "--full"], &settings)?.until_done(size, BOUND).await?;
        index.holds(size).await?;
        if round > 0 {
            board.add("ours:mended", round, figures.with("lost", lost as f64));
        }
    }
    Ok(board.finish(&[], &[], options.require))
}
