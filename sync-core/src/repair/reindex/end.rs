//! What a person decides about a re-index: that the old index may go, that it is given up, that it is taken back.

use crate::error::{Error, ErrorKind};
use crate::port::{Generations, ReindexPhase, Reindexes, Reindexing, RunKind, Runs};

/// Deletes the index that was searched before: there is no way back after this. May be repeated.
///
/// # Errors
/// `Configuration` when the new index is not searched yet; `Fenced` while another process works on it; `Unavailable`,
/// `Denied`.
pub async fn finish_reindex(
    of: &Reindexing,
    topic: &str,
    reindexes: &dyn Reindexes,
    generations: &dyn Generations,
) -> Result<Reindexing, Error> {
    if of.phase != ReindexPhase::Switched {
        return Err(not_now(of, "finished once the new index is searched"));
    }
    reindexes.hold(of).await?;
    generations.delete(&of.old).await?;
    reached(of, topic, reindexes, ReindexPhase::Finished).await
}

/// Gives it up: the new index goes, and the old one is searched as it was. May be repeated.
///
/// # Errors
/// `Configuration` once the new index is searched; `Fenced` while another process works on it; `Unavailable`, `Denied`.
pub async fn abort_reindex(
    of: &Reindexing,
    topic: &str,
    reindexes: &dyn Reindexes,
    generations: &dyn Generations,
    runs: &dyn Runs,
) -> Result<Reindexing, Error> {
    let is_early = matches!(of.phase, ReindexPhase::Filling | ReindexPhase::Comparing | ReindexPhase::Switching);
    if !is_early || generations.searched().await?.as_deref() == Some(of.new.as_str()) {
        return Err(not_now(of, "given up only until the new index is searched; --rollback takes it back"));
    }
    reindexes.hold(of).await?;
    for kind in [RunKind::Backfill, RunKind::Reconcile] {
        runs.abandon(kind, &of.new).await?;
    }
    generations.delete(&of.new).await?;
    reached(of, topic, reindexes, ReindexPhase::Aborted).await
}

/// Begins the way back: from now on live changes go into the old index again. [`Reindex`](super::Reindex) goes on with it.
/// May be repeated.
///
/// # Errors
/// `Configuration` when the new index is not searched yet; `Fenced` while another process works on it; `Unavailable`,
/// `Denied`.
pub async fn turn_reindex_back(
    of: &Reindexing,
    topic: &str,
    reindexes: &dyn Reindexes,
    generations: &dyn Generations,
) -> Result<Reindexing, Error> {
    match of.phase {
        ReindexPhase::Switched => {
            reindexes.hold(of).await?;
            generations.unseal(&of.old).await?;
            reached(of, topic, reindexes, ReindexPhase::Returning).await
        }
        ReindexPhase::Returning | ReindexPhase::SwitchingBack => Ok(of.clone()),
        ReindexPhase::Filling
        | ReindexPhase::Comparing
        | ReindexPhase::Switching
        | ReindexPhase::Finished
        | ReindexPhase::Aborted
        | ReindexPhase::RolledBack => {
            Err(not_now(of, "taken back once the new index is searched; --abort gives it up before that"))
        }
    }
}

/// It, as it then is.
async fn reached(
    of: &Reindexing,
    topic: &str,
    reindexes: &dyn Reindexes,
    phase: ReindexPhase,
) -> Result<Reindexing, Error> {
    reindexes.reach(of, topic, phase).await?;
    Ok(Reindexing { phase, ..of.clone() })
}

fn not_now(of: &Reindexing, when: &str) -> Error {
    let Reindexing { index, phase, .. } = of;
    Error::new(ErrorKind::Configuration, format!("the re-index of {index} is {phase}; it can be {when}"))
}
