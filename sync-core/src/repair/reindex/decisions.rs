//! What a person decides about a re-index: that there is one, that the old index may go, that it is given up, that it is
//! taken back.

use crate::error::{Error, ErrorKind};
use crate::port::{ConcreteIndexes, ReindexOf, ReindexPhase, Reindexes, Reindexing, RunKind, Runs};

/// Begins a re-index: [`Reindex`](super::Reindex) goes on with it. May be repeated. Dropped half-way, it may have been begun.
///
/// # Errors
/// `Configuration` when no index is searched yet; `Fenced` when another process has begun one; `Unavailable`, `Denied`.
pub async fn begin_reindex(
    index: &str,
    topic: &str,
    mapping: &str,
    reindexes: &dyn Reindexes,
    indexes: &dyn ConcreteIndexes,
) -> Result<Reindexing, Error> {
    let Some(old) = indexes.searched().await? else {
        let what = format!("{index} has no index yet that could be made anew: a backfill makes it and fills it");
        return Err(Error::new(ErrorKind::Configuration, what));
    };
    let new = indexes.next_name(&old, &reindexes.names(index).await?).await?;
    let [index, topic, mapping] = [index, topic, mapping].map(str::to_owned);
    reindexes.begin(&ReindexOf { index, topic, old, new, mapping }).await
}

/// Deletes the index that was searched before: there is no way back after this. Dropped half-way, it may be gone, and is
/// to be finished again.
///
/// # Errors
/// `Configuration` when the new index is not searched yet; `Fenced` while another process works on it; `Unavailable`,
/// `Denied`.
pub async fn finish_reindex(
    of: &Reindexing,
    reindexes: &dyn Reindexes,
    indexes: &dyn ConcreteIndexes,
) -> Result<Reindexing, Error> {
    let of = reindexes.hold(of).await?;
    let finish = async {
        if of.phase != ReindexPhase::Switched {
            return Err(not_now(&of, "finished once the new index is searched"));
        }
        indexes.delete(&of.about.old).await?;
        reached(&of, reindexes, ReindexPhase::Finished).await
    };
    or_released(&of, reindexes, finish.await).await
}

/// Gives it up: the new index goes, and the old one is searched as it was. On the way back, that is given up: the new index
/// stays. Dropped half-way, it is to be given up again.
///
/// # Errors
/// `Configuration` once searches have moved; `Fenced` while another process works on it; `Unavailable`, `Denied`.
pub async fn abort_reindex(
    of: &Reindexing,
    reindexes: &dyn Reindexes,
    indexes: &dyn ConcreteIndexes,
    runs: &dyn Runs,
) -> Result<Reindexing, Error> {
    let of = reindexes.hold(of).await?;
    let abort = async {
        if !of.phase.is_followed() || indexes.searched().await?.as_deref() == Some(of.target()) {
            let when = "given up only until searches have moved; then it can be finished or taken back";
            return Err(not_now(&of, when));
        }
        for kind in [RunKind::Backfill, RunKind::Reconcile] {
            runs.abandon(kind, of.target()).await?;
        }
        if of.phase.is_return() {
            indexes.seal(of.target()).await?;
            return reached(&of, reindexes, ReindexPhase::Switched).await;
        }
        indexes.delete(of.target()).await?;
        reached(&of, reindexes, ReindexPhase::Aborted).await
    };
    or_released(&of, reindexes, abort.await).await
}

/// Begins the way back: from now on live changes go into the old index again. [`Reindex`](super::Reindex) goes on with it.
/// May be repeated. Dropped half-way, it may have begun.
///
/// # Errors
/// `Configuration` when the new index is not searched yet; `Fenced` while another process works on it; `Unavailable`,
/// `Denied`.
pub async fn turn_reindex_back(
    of: &Reindexing,
    reindexes: &dyn Reindexes,
    indexes: &dyn ConcreteIndexes,
) -> Result<Reindexing, Error> {
    let of = reindexes.hold(of).await?;
    let turn_back = async {
        if of.phase.is_return() {
            return Ok(of.clone());
        }
        // Where it died right after searches had moved, it is searched as well.
        let has_moved =
            of.phase == ReindexPhase::Switching && indexes.searched().await?.as_deref() == Some(of.about.new.as_str());
        if of.phase != ReindexPhase::Switched && !has_moved {
            return Err(not_now(&of, "taken back once the new index is searched; it can be given up before that"));
        }
        indexes.unseal(&of.about.old).await?;
        reached(&of, reindexes, ReindexPhase::Returning).await
    };
    or_released(&of, reindexes, turn_back.await).await
}

/// It, as it then is.
async fn reached(of: &Reindexing, reindexes: &dyn Reindexes, phase: ReindexPhase) -> Result<Reindexing, Error> {
    reindexes.reach(of, phase).await?;
    Ok(Reindexing { phase, ..of.clone() })
}

/// What failed is let go, for the next to decide.
async fn or_released(
    of: &Reindexing,
    reindexes: &dyn Reindexes,
    decided: Result<Reindexing, Error>,
) -> Result<Reindexing, Error> {
    if decided.is_err() {
        reindexes.release(of, of.problem.as_deref()).await?;
    }
    decided
}

fn not_now(of: &Reindexing, when: &str) -> Error {
    let what = format!("the re-index of {} is {}; it can be {when}", of.about.index, of.phase);
    Error::new(ErrorKind::Configuration, what)
}
