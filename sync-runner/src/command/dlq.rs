//! `dlq`: what could not be applied, and what a person decides about it.

mod show;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;
use serde::Serialize;
use sync_core::adapter::postgres::PostgresDeadLetters;
use sync_core::port::{DeadLetters, Kept, Selection};
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

fn selected(selection: &DlqSelection) -> Result<Selection, Error> {
    let DlqSelection { id, key, reader, error, older_than, all: _ } = selection;
    let before = older_than.map(|age| {
        let age = SignedDuration::try_from(age).map_err(|error| too_old(error.into()))?;
        wire::clock().now().checked_sub(age).map_err(|error| too_old(error.into()))
    });
    Ok(Selection {
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
    selection: &Selection,
    mut each: impl AsyncFnMut(Vec<Kept>) -> Result<(), Error>,
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
        let ids = Selection { ids: Some(ids.to_vec()), ..Selection::default() };
        each(letters.list(&ids, 0, PAGE).await?).await?;
    }
    Ok(())
}

#[derive(Debug, Default, Serialize)]
struct ReplayReport {
    replayed: u64,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: i64,
    key: Option<String>,
    error: String,
}

async fn replay_all(
    config: &Config,
    wire: &Wire<'_>,
    letters: &PostgresDeadLetters,
    args: &DlqChosenArgs,
) -> Result<Exit, Failure> {
    let desk = LetterDesk::new(config, wire)?;
    let mut report = ReplayReport::default();
    let outcome = pages(letters, &selected(&args.selection)?, async |page| {
        let tried = stream::iter(page).map(async |kept| {
            let outcome = desk.replay(&kept).await;
            outcome.map(|tried| (kept, tried))
        });
        let tried: Vec<_> = tried.buffered(AT_ONCE).try_collect().await?;
        for (kept, tried) in tried {
            match tried {
                Tried::Done => report.replayed += 1,
                Tried::ParkedAnew(error) | Tried::Impossible(error) => {
                    let error = error.to_string();
                    report.failed.push(Failed { id: kept.id, key: kept.letter.key, error });
                }
            }
        }
        tracing::info!(replayed = report.replayed, failed = report.failed.len(), "so far");
        Ok(())
    })
    .await;
    let failed = !report.failed.is_empty();
    if args.output.json {
        render::json(&report)?;
    } else {
        let mut text = format!("{} replayed, {} failed again", report.replayed, report.failed.len());
        for Failed { id, key, error } in &report.failed {
            text.push_str(&format!("\n{id}  {}: {error}", key.as_deref().unwrap_or("(no key)")));
        }
        render::text(&text)?;
    }
    outcome?;
    Ok(if failed { Exit::Failed } else { Exit::Success })
}

#[derive(Debug, Default, Serialize)]
struct DiscardReport {
    discarded: u64,
}

async fn discard(letters: &PostgresDeadLetters, args: &DlqChosenArgs) -> Result<Exit, Failure> {
    let mut report = DiscardReport::default();
    pages(letters, &selected(&args.selection)?, async |page| {
        let ids: Vec<_> = page.iter().map(|kept| kept.id).collect();
        report.discarded += letters.remove(&ids).await?;
        Ok(())
    })
    .await?;
    if args.output.json {
        render::json(&report)?;
    } else {
        render::text(&format!("{} discarded", render::counted(report.discarded, "dead letter")))?;
    }
    Ok(Exit::Success)
}
