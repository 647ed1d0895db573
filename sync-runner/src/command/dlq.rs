//! `dlq`: what could not be applied, and what a person decides about it.

mod show;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;
use serde::Serialize;
use sync_core::adapter::postgres::PostgresDeadLetters;
use sync_core::port::{DeadLetters, KeptLetter, LetterSelection};
use sync_core::{Error, ErrorKind};

use self::show::Listed;
use crate::cli::{DlqChosenArgs, DlqCommand, DlqListArgs, DlqSelection, DlqShowArgs};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::letters::{Letter, LetterDesk, Tried};
use crate::render;
use crate::wire::{self, Wire};

/// Letters read at a time.
const PAGE: usize = 500;

/// Letters tried at the same time.
const AT_ONCE: usize = 8;

/// Does what is asked about the dead letters.
pub(super) async fn dlq(config: &Config, command: &DlqCommand) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    let letters = wire.dead_letters();
    match command {
        DlqCommand::List(args) => list(&letters, args).await,
        DlqCommand::Show(args) => show(&letters, args).await,
        DlqCommand::Replay(args) => replay_all(config, &wire, &letters, args).await,
        DlqCommand::Discard(args) => discard(&letters, args).await,
    }
}

fn selected(selection: &DlqSelection) -> Result<LetterSelection, Error> {
    let DlqSelection { id, key, reader, error, older_than, all: _ } = selection;
    let before = older_than.map(|age| {
        let age = SignedDuration::try_from(age).map_err(|error| too_old(error.into()))?;
        wire::clock().now().checked_sub(age).map_err(|error| too_old(error.into()))
    });
    Ok(LetterSelection {
        ids: (!id.is_empty()).then(|| id.clone()),
        keys: (!key.is_empty()).then(|| key.clone()),
        reader: reader.clone(),
        error_kind: error.clone(),
        before: before.transpose()?,
    })
}

fn too_old(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(ErrorKind::Configuration, "--older-than: nothing is that old").with_source(error)
}

async fn list(letters: &PostgresDeadLetters, args: &DlqListArgs) -> Result<Exit, Failure> {
    let selection = selected(&args.selection)?;
    let count = letters.count(&selection).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let page = letters.list(&selection, 0, limit).await?;
    let listed = Listed { letters: page.iter().map(Letter::of).collect(), of: count.letters };
    if args.output.json {
        render::json(&listed)?
    } else {
        render::text(&listed.text())?
    }
    Ok(Exit::Success)
}

async fn show(letters: &PostgresDeadLetters, args: &DlqShowArgs) -> Result<Exit, Failure> {
    let Some(kept) = letters.get(args.id).await? else {
        let what = format!("there is no dead letter {}; `sync-runner dlq list` tells which there are", args.id);
        return Err(Error::new(ErrorKind::Configuration, what).into());
    };
    let letter = Letter::of(&kept);
    if args.output.json {
        render::json(&letter)?
    } else {
        render::text(&letter.text())?
    }
    Ok(Exit::Success)
}

/// The letters that are selected when this begins, some at a time. One that is parked anew meanwhile has another
/// number and is left for the next time.
async fn pages(
    letters: &PostgresDeadLetters,
    selection: &LetterSelection,
    mut each: impl AsyncFnMut(Vec<KeptLetter>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut chosen = Vec::new();
    loop {
        let page = letters.list(selection, chosen.last().copied().unwrap_or(0), PAGE).await?;
        if page.is_empty() {
            break;
        }
        chosen.extend(page.iter().map(|kept| kept.id));
    }
    for ids in chosen.chunks(PAGE) {
        let ids = LetterSelection { ids: Some(ids.to_vec()), ..LetterSelection::default() };
        each(letters.list(&ids, 0, PAGE).await?).await?;
    }
    Ok(())
}

#[derive(Debug, Default, Serialize)]
struct ReplayReport {
    replayed: u64,
    failed: Vec<Failed>,
    missing: Vec<i64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: i64,
    /// The number it has now; `None` when it is gone again.
    kept_as: Option<i64>,
    key: Option<String>,
    error: String,
}

impl Failed {
    fn of(kept: KeptLetter, kept_as: Option<i64>, error: &Error) -> Self {
        Self { id: kept.id, kept_as, key: kept.letter.key, error: error.to_string() }
    }

    fn text(&self) -> String {
        let now = self.kept_as.filter(|now| *now != self.id).map_or_else(String::new, |now| format!(", now {now}"));
        format!("{}{now}  {}: {}", self.id, self.key.as_deref().unwrap_or("(no key)"), self.error)
    }
}

async fn replay_all(
    config: &Config,
    wire: &Wire<'_>,
    letters: &PostgresDeadLetters,
    args: &DlqChosenArgs,
) -> Result<Exit, Failure> {
    let desk = LetterDesk::new(config, wire)?;
    let mut report = ReplayReport { missing: missing(letters, &args.selection).await?, ..ReplayReport::default() };
    let outcome = pages(letters, &selected(&args.selection)?, async |page| {
        let tried = stream::iter(page).map(async |kept| {
            let outcome = desk.replay(&kept).await;
            outcome.map(|tried| (kept, tried))
        });
        let tried: Vec<_> = tried.buffered(AT_ONCE).try_collect().await?;
        for (kept, tried) in tried {
            match tried {
                Tried::Done => report.replayed += 1,
                Tried::ParkedAnew(error, kept_as) => report.failed.push(Failed::of(kept, kept_as, &error)),
                Tried::Impossible(error) => {
                    let id = kept.id;
                    report.failed.push(Failed::of(kept, Some(id), &error));
                }
            }
        }
        tracing::info!(replayed = report.replayed, failed = report.failed.len(), "so far");
        Ok(())
    })
    .await;
    let failed = !report.failed.is_empty() || !report.missing.is_empty();
    if args.output.json {
        render::json(&report)?;
    } else {
        let mut text = format!("{} replayed, {} failed again", report.replayed, report.failed.len());
        for failed in &report.failed {
            text.push('\n');
            text.push_str(&failed.text());
        }
        text.push_str(&absent(&report.missing));
        render::text(&text)?;
    }
    outcome?;
    Ok(if failed { Exit::Failed } else { Exit::Success })
}

#[derive(Debug, Default, Serialize)]
struct DiscardReport {
    discarded: u64,
    missing: Vec<i64>,
}

/// The numbers that were named and that no letter has.
async fn missing(letters: &PostgresDeadLetters, selection: &DlqSelection) -> Result<Vec<i64>, Error> {
    if selection.id.is_empty() {
        return Ok(Vec::new());
    }
    let named = LetterSelection { ids: Some(selection.id.clone()), ..LetterSelection::default() };
    let there = letters.list(&named, 0, selection.id.len()).await?;
    let is_there = |id: &i64| there.iter().any(|kept| kept.id == *id);
    Ok(selection.id.iter().copied().filter(|id| !is_there(id)).collect())
}

/// A line for each of these.
fn absent(missing: &[i64]) -> String {
    missing
        .iter()
        .map(|id| format!("\n{id}  there is no such letter; `sync-runner dlq list` tells which there are"))
        .collect()
}

async fn discard(letters: &PostgresDeadLetters, args: &DlqChosenArgs) -> Result<Exit, Failure> {
    let mut report = DiscardReport { missing: missing(letters, &args.selection).await?, ..DiscardReport::default() };
    pages(letters, &selected(&args.selection)?, async |page| {
        let ids: Vec<_> = page.iter().map(|kept| kept.id).collect();
        report.discarded += letters.remove(&ids).await?;
        Ok(())
    })
    .await?;
    if args.output.json {
        render::json(&report)?;
    } else {
        let discarded = render::counted(report.discarded, "dead letter");
        render::text(&format!("{discarded} discarded{}", absent(&report.missing)))?;
    }
    Ok(if report.missing.is_empty() { Exit::Success } else { Exit::Failed })
}
