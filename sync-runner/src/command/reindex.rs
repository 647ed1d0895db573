//! `reindex`: an index made anew while it is searched, and what a person decides about it.

use std::fs;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sync_core::port::{ReindexOf, ReindexPhase, Reindexes, Reindexing};
use sync_core::repair::{ReindexEnd, abort_reindex, begin_reindex, finish_reindex, turn_reindex_back};
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::named_index;
use super::view::View;
use crate::cli::{ReindexArgs, ReindexDecision};
use crate::config::{Config, Index, Problems};
use crate::exit::{Exit, Failure};
use crate::wire::Wire;
use crate::{render, signals, tasks};

/// Between two looks whether another process has let go of it, and how often that is looked for: longer than one that died
/// is waited for.
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 12;

#[derive(Debug, Serialize)]
struct Report {
    index: String,
    /// The concrete index that was searched when it began, and the one that was made.
    old: String,
    new: String,
    #[serde(serialize_with = "name")]
    phase: ReindexPhase,
    /// Rows that were read into it, those of before it was taken up included.
    rows: u64,
    /// Keys and documents the last comparison was about.
    compared: u64,
    /// What the last comparison put right.
    fixed: u64,
    seconds: f64,
}

/// Begins a re-index or goes on with one, or does what a person has decided.
pub(super) async fn reindex(config: &Config, args: &ReindexArgs) -> Result<Exit, Failure> {
    let (name, index) = named_index(config, &args.index)?;
    let (wire, given) = (Wire::new(config)?, mapping_of(args)?);
    let reindexes = wire.reindexes();
    let unfinished = reindexes.unfinished(name).await?;
    let ReindexDecision { finish, abort, rollback } = args.decision;
    let Some(of) = unfinished else {
        if finish || abort || rollback {
            return Err(Failure::from(Problems::one("INDEX", format!("no re-index of {name} is under way"))));
        }
        let mapping = given.unwrap_or_else(|| index.mapping_text().to_owned());
        let indexes = wire.concrete_indexes(name, index, &mapping).map_err(|error| of_mapping(args, error))?;
        let of = begin_reindex(name, &index.topic, &mapping, &reindexes, &*indexes).await?;
        return go_on(&wire, (name, index), args, &of).await;
    };
    let of = held(&reindexes, &of).await?;
    let indexes = wire.concrete_indexes(name, index, &of.about.mapping)?;
    if rollback {
        let of = turn_reindex_back(&of, &reindexes, &*indexes).await?;
        return go_on(&wire, (name, index), args, &of).await;
    }
    let decided = if finish {
        finish_reindex(&of, &reindexes, &*indexes).await?
    } else if abort {
        abort_reindex(&of, &reindexes, &*indexes, &wire.runs()).await?
    } else {
        let problem = not_to_go_on(&of, given.as_deref());
        if problem.is_none() && of.phase != ReindexPhase::Switched {
            return go_on(&wire, (name, index), args, &of).await;
        }
        reindexes.release(&of, of.problem.as_deref()).await?;
        // Where it was killed after its last step, there is nothing left to do.
        problem.map_or(Ok(of), Err)?
    };
    tell(&Report::of(&decided), args.output.json)?;
    Ok(Exit::Success)
}

/// The mapping that was named.
fn mapping_of(args: &ReindexArgs) -> Result<Option<String>, Error> {
    let read = args.mapping.as_ref().map(fs::read_to_string).transpose();
    read.map_err(|error| of_mapping(args, Error::new(ErrorKind::Configuration, "cannot be read").with_source(error)))
}

fn of_mapping(args: &ReindexArgs, error: Error) -> Error {
    match &args.mapping {
        Some(file) => Error::new(error.kind(), format!("--mapping {}", file.display())).with_source(error),
        None => error,
    }
}

/// Takes it into this process's hands; waits for one that died, and has it as that one left it.
async fn held(reindexes: &impl Reindexes, of: &Reindexing) -> Result<Reindexing, Error> {
    for _ in 0..LOOKS {
        match reindexes.hold(of).await {
            Err(error) if error.kind() == ErrorKind::Fenced => eprintln!("{}: waiting: {error}", of.about.index),
            held => return held,
        }
        sleep(LOOK).await;
    }
    reindexes.hold(of).await.map_err(|error| {
        Error::new(error.kind(), "another process is at work on it: stop that one first").with_source(error)
    })
}

/// Why it is not gone on with, where that is so.
fn not_to_go_on(of: &Reindexing, mapping: Option<&str>) -> Option<Problems> {
    let Reindexing { about: ReindexOf { index, mapping: made_of, .. }, phase, .. } = of;
    if phase.is_return() {
        let what = format!("the re-index of {index} is on its way back ({phase}): go on with --rollback");
        return Some(Problems::one("INDEX", what));
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    mapping.filter(|mapping| *mapping != made_of && parse(mapping) != parse(made_of)).map(|_| {
        let first = if *phase == ReindexPhase::Switched {
            "end it with --finish or --rollback"
        } else {
            "go on with it without --mapping, or give it up with --abort"
        };
        let what = format!("a re-index of {index} of another mapping is {phase}: {first}");
        Problems::one("--mapping", what)
    })
}

async fn go_on(
    wire: &Wire<'_>,
    (name, index): (&str, &Index),
    args: &ReindexArgs,
    of: &Reindexing,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let (reindex, roles) = wire.reindex(name, index, of, args.rate)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;
    let (view, viewed) = (View::new(name, reindex.progress()), CancellationToken::new());
    let (ended, ()) = tokio::join!(
        async {
            let follow = |stop: CancellationToken| -> BoxFuture<'static, Result<(), Error>> {
                Box::pin(async move { tasks::run_all(roles, &stop).await })
            };
            let ended = reindex.run(follow, shutdown.clone()).await;
            viewed.cancel();
            ended
        },
        view.show(&viewed),
    );
    let ended = ended?;
    let progress = reindex.progress();
    let counts = progress.reconcile.counts();
    let report = Report {
        rows: progress.backfill.counts().rows,
        compared: counts.compared + counts.listed,
        fixed: counts.fixed,
        seconds: began.elapsed().as_secs_f64(),
        ..Report::of(&Reindexing { phase: progress.phase(), ..of.clone() })
    };
    tell(&report, args.output.json)?;
    Ok(if ended == ReindexEnd::Stopped { Exit::Failed } else { Exit::Success })
}

fn name<S: Serializer>(phase: &ReindexPhase, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.name())
}

impl Report {
    fn of(of: &Reindexing) -> Self {
        let ReindexOf { index, old, new, .. } = of.about.clone();
        Self { index, old, new, phase: of.phase, rows: 0, compared: 0, fixed: 0, seconds: 0.0 }
    }
}

fn tell(report: &Report, json: bool) -> Result<(), Error> {
    if json {
        return render::json(report);
    }
    let Report { index, old, new, phase, rows, compared, fixed, seconds } = report;
    let did =
        format!("{rows} rows filled in, {compared} keys and documents compared, {fixed} put right, in {seconds:.1} s");
    render::text(&match phase {
        ReindexPhase::Switched => format!(
            "{index}: {new} is searched now ({did}).\n{old} is kept and takes no writes: `sync-runner reindex {index} --finish` \
             deletes it, `--rollback` goes back to it."
        ),
        ReindexPhase::RolledBack => format!("{index}: {old} is searched again ({did}); {new} is deleted."),
        ReindexPhase::Finished => format!("{index}: {old} is deleted; {new} stays."),
        ReindexPhase::Aborted => format!("{index}: given up; {new} is deleted, {old} stays as it was."),
        ReindexPhase::Filling | ReindexPhase::Comparing | ReindexPhase::Switching => {
            format!("{index}: stopped while {phase}. The same command goes on from here.")
        }
        ReindexPhase::Returning | ReindexPhase::SwitchingBack => {
            format!("{index}: stopped while {phase}. `sync-runner reindex {index} --rollback` goes on from here.")
        }
        _ => format!("{index}: stopped while {phase}."),
    })
}
