//! The command line of what fills, compares and repeats.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::JsonArgs;
use crate::config::parse_duration;

/// For `backfill`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner backfill jobs\n  sync-runner backfill jobs --rate 5000\n\
                  Exit code 1 also when it was stopped: the next one goes on where it was.")]
pub(crate) struct BackfillArgs {
    /// The index, as its section [indexes.NAME] calls it.
    #[arg(value_name = "INDEX")]
    pub(crate) index: String,
    /// Rows read in a second, at most.
    #[arg(long, value_name = "ROWS")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Begins anew where an earlier one was not finished.
    #[arg(long)]
    pub(crate) restart: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `reconcile`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner reconcile jobs\n  sync-runner reconcile --full --dry-run\n  \
                  sync-runner reconcile jobs --since 48h --deep\n\
                  Exit code 1 also when it was stopped, when something could not be compared or put right, or was parked, and \
                  in a dry run when anything differs. Keys that may be on their way and dead letters do not count.\n\
                  JSON: {\"reconciled\": [one object an index]}; versions as Elasticsearch's _version.")]
pub(crate) struct ReconcileArgs {
    /// The indexes, as their sections [indexes.NAME] call them; all when none is named.
    #[arg(value_name = "INDEX")]
    pub(crate) indexes: Vec<String>,
    /// Compares every key, and looks for documents no row has. Without it: what changed lately (reconcile.window).
    #[arg(long, conflicts_with = "since")]
    pub(crate) full: bool,
    /// Compares what changed since then: an age such as 48h, or a time such as 2026-01-31T03:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Compares the content of every document, not only of one in a hundred.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Only tells what differs.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keys compared in a second, at most, each way; reconcile.rate when not said.
    #[arg(long, value_name = "KEYS")]
    pub(crate) rate: Option<NonZeroU32>,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `reindex`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sync-runner reindex jobs --mapping jobs.v2.json\n  sync-runner reindex jobs --finish\n\
                  The index that was searched is kept until --finish; it takes no writes any more. The mapping of a re-index is \
                  kept with it: to go on, --mapping need not be said again. Once it is searched, set indexes.NAME.mapping to \
                  the same file.\n\
                  Exit code 1 also when it was stopped or another process is at work on it, 2 also when the new mapping refuses a \
                  document. JSON: index, old, new, phase, rows, compared, fixed, seconds."
)]
pub(crate) struct ReindexArgs {
    /// The index, as its section [indexes.NAME] calls it.
    #[arg(value_name = "INDEX")]
    pub(crate) index: String,
    /// What the new index is made of, like indexes.NAME.mapping; that one when not said.
    #[arg(long, value_name = "FILE", conflicts_with = "decision")]
    pub(crate) mapping: Option<PathBuf>,
    /// Rows read in a second, at most.
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["finish", "abort"])]
    pub(crate) rate: Option<NonZeroU32>,
    /// What else there is to do.
    #[command(flatten)]
    pub(crate) decision: ReindexDecision,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// What a person decides about a re-index.
#[derive(Clone, Copy, Debug, Args)]
#[group(id = "decision", multiple = false)]
pub(crate) struct ReindexDecision {
    /// Deletes the index that was searched before; there is no way back after this.
    #[arg(long)]
    pub(crate) finish: bool,
    /// Gives it up and deletes the new index, which is not searched yet.
    #[arg(long)]
    pub(crate) abort: bool,
    /// Has the index be searched again that was searched before, once it is up to date, and deletes the new one.
    #[arg(long)]
    pub(crate) rollback: bool,
}

/// A time, said by its age or by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// The time, seen from `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(age) => now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let age = parse_duration(text).map(Moment::Ago);
    age.or_else(|| text.parse().ok().map(Moment::At))
        .ok_or_else(|| "expected an age such as 48h, or a time such as 2026-01-31T03:00:00Z".to_owned())
}

/// For `replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner replay --since 2h\n  \
                  sync-runner replay --since 2026-01-31T03:00:00Z --subscription search")]
pub(crate) struct ReplayArgs {
    /// Of this subscription; relay.subscription when none is named.
    #[arg(long, value_name = "NAME")]
    pub(crate) subscription: Option<String>,
    /// What was committed since then: an age such as 48h, or a time such as 2026-01-31T03:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Moment,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}
