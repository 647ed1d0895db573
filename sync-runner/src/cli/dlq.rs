//! The command line of the dead letters.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::JsonArgs;
use crate::config::parse_duration;

/// For `dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Lists dead letters, oldest first; all of them unless some are selected.
    List(DlqListArgs),
    /// Shows one dead letter with everything that is known of it.
    Show(DlqShowArgs),
    /// Tries the selected letters again: the rows as they are now. What the index takes is removed from the letters.
    Replay(DlqChosenArgs),
    /// Removes the selected letters. The index stays without what they are about until their rows change again.
    Discard(DlqChosenArgs),
}

/// Which letters. Of several conditions all have to fit.
#[derive(Debug, Args)]
#[group(id = "selection", multiple = true)]
pub(crate) struct DlqSelection {
    /// With this number; may be repeated.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) id: Vec<i64>,
    /// About this key; may be repeated.
    #[arg(long)]
    pub(crate) key: Vec<String>,
    /// Of this index, or of this subscription's relay.
    #[arg(long, value_name = "NAME")]
    pub(crate) reader: Option<String>,
    /// With this kind of error, as `list` shows it.
    #[arg(long, value_name = "KIND")]
    pub(crate) error: Option<String>,
    /// Parked longer ago than this, as in 30m or 48h.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected an age such as 30s, 10m or 48h".to_owned())
}

/// For `dlq list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sync-runner dlq list\n  sync-runner dlq list --reader jobs --error refused --json"
)]
pub(crate) struct DlqListArgs {
    /// Which letters.
    #[command(flatten)]
    pub(crate) selection: DlqSelection,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `dlq show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sync-runner dlq show 42")]
pub(crate) struct DlqShowArgs {
    /// Its number, as `list` shows it.
    #[arg(value_name = "NUMBER")]
    pub(crate) id: i64,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `dlq replay` and `dlq discard`.
#[derive(Debug, Args)]
#[command(
    mut_group("selection", |group| group.required(true)),
    after_help = "Examples, the same for replay and discard:\n  sync-runner dlq replay --id 42\n  \
                  sync-runner dlq replay --reader jobs --error refused\n  sync-runner dlq discard --older-than 720h\n\
                  Exit code 1 when a letter was tried again and failed again (it is kept, under another number), and when a number that \
                  is named is no letter's. JSON: {\"replayed\": 3, \"failed\": [id, kept_as, key, error], \"missing\": [id]}."
)]
pub(crate) struct DlqChosenArgs {
    /// Which letters.
    #[command(flatten)]
    pub(crate) selection: DlqSelection,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}
