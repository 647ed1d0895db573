//! `reindex`: an index made anew while it is searched, and what a person decides about it.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;
use sync_core::port::{Generations, ReindexOf, ReindexPhase, Reindexes, Reindexing};
use sync_core::repair::{ReindexEnd, abort_reindex, finish_reindex, turn_reindex_back};
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

/// Between two looks whether another process has let go of it.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Report<'a> {
    index: &'a str,
    /// The concrete index that was searched when it began, and the one that was made.
    old: &'a str,
    new: &'a str,
    phase: &'static str,
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
    let wire = Wire::new(config)?;
    let began = Instant::now();
    let of = wire.reindexes().unfinished(name).await?;
    let ReindexDecision { finish, abort, rollback } = args.decision;
    if !(finish || abort || rollback) {
        let of = begun(&wire, name, index, args, of).await?;
        return go_on(&wire, (name, index), args, &of, began).await;
    }
    let Some(of) = of else {
        return Err(Failure::from(Problems::one("INDEX", format!("no re-index of {name} is under way"))));
    };
    let (reindexes, generations) = (wire.reindexes(), wire.generations(index, &of.mapping)?);
    let of = held(&reindexes, &of).await?;
    let decided = if rollback {
        turn_reindex_back(&of, &index.topic, &reindexes, &generations).await
    } else if finish {
        finish_reindex(&of, &index.topic, &reindexes, &generations).await
    } else {
        abort_reindex(&of, &index.topic, &reindexes, &generations, &wire.runs()).await
    };
    let of = match decided {
        Ok(of) => of,
        Err(error) => {
            reindexes.release(&of, of.problem.as_deref()).await?;
            return Err(error.into());
        }
    };
    if rollback {
        return go_on(&wire, (name, index), args, &of, began).await;
    }
    tell(&Report::of(&of, of.phase, began), args.output.json)?;
    Ok(Exit::Success)
}

/// It, once no other process works on it: one may be gone, and another have taken it further meanwhile.
async fn held(reindexes: &impl Reindexes, of: &Reindexing) -> Result<Reindexing, Error> {
    loop {
        match reindexes.hold(of).await {
            Err(error) if error.kind() == ErrorKind::Fenced => eprintln!("{}: waiting: {error}", of.index),
            held => return held,
        }
        sleep(LOOK).await;
    }
}

/// The re-index to go on with; a new one where there is none.
async fn begun(
    wire: &Wire<'_>,
    name: &str,
    index: &Index,
    args: &ReindexArgs,
    of: Option<Reindexing>,
) -> Result<Reindexing, Failure> {
    let given = args.mapping.as_ref().map(|file| {
        let wrong = |error| {
            let what = format!("--mapping: cannot read {}", file.display());
            Error::new(ErrorKind::Configuration, what).with_source(error)
        };
        fs::read_to_string(file).map_err(wrong)
    });
    let given = given.transpose()?;
    if let Some(of) = of {
        let reindexes = wire.reindexes();
        let of = held(&reindexes, &of).await?;
        let Some(problem) = not_to_go_on(&of, given.as_deref()) else { return Ok(of) };
        reindexes.release(&of, of.problem.as_deref()).await?;
        return Err(problem.into());
    }
    let configured = || index.mapping.as_ref().map_or_else(|| "{}".to_owned(), |mapping| mapping.text.clone());
    let mapping = given.unwrap_or_else(configured);
    let generations = wire.generations(index, &mapping)?;
    let Some(old) = generations.searched().await? else {
        let what = format!(
            "there is no index behind the alias {} yet: `sync-runner backfill {name}` makes it and fills it",
            index.alias
        );
        return Err(Failure::from(Problems::one("INDEX", what)));
    };
    let new = generations.next_name(&old).await?;
    let of = ReindexOf { index: name.to_owned(), topic: index.topic.clone(), old, new, mapping };
    Ok(wire.reindexes().begin(&of).await?)
}

/// Why there is nothing to go on with, where that is so.
fn not_to_go_on(of: &Reindexing, mapping: Option<&str>) -> Option<Problems> {
    let Reindexing { index, old, new, phase, .. } = of;
    if *phase == ReindexPhase::Switched {
        let what = format!(
            "{new} is searched since the last re-index, and {old} is kept: --finish deletes it, --rollback goes back to it"
        );
        return Some(Problems::one("INDEX", what));
    }
    mapping.filter(|mapping| *mapping != of.mapping).map(|_| {
        let what = format!(
            "a re-index of {index} of another mapping is {phase}: go on with it without --mapping, or give it up with --abort"
        );
        Problems::one("--mapping", what)
    })
}

async fn go_on(
    wire: &Wire<'_>,
    (name, index): (&str, &Index),
    args: &ReindexArgs,
    of: &Reindexing,
    began: Instant,
) -> Result<Exit, Failure> {
    let (reindex, roles) = wire.reindex(name, index, of, args.rate)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;
    let (view, viewed) = (View::new(name, reindex.progress()), CancellationToken::new());
    let (ended, ()) = tokio::join!(
        async {
            let follow = |stop: CancellationToken| -> futures::future::BoxFuture<'static, Result<(), Error>> {
                Box::pin(async move { tasks::run_all(roles, &stop).await })
            };
            let ended = reindex.run(follow, &shutdown).await;
            viewed.cancel();
            ended
        },
        view.show(&viewed),
    );
    let ended = ended?;
    let progress = reindex.progress();
    let counts = progress.reconcile.counts();
    let phase = match ended {
        ReindexEnd::Switched => ReindexPhase::Switched,
        ReindexEnd::RolledBack => ReindexPhase::RolledBack,
        ReindexEnd::Stopped => progress.phase(),
    };
    let report = Report {
        rows: progress.backfill.counts().rows,
        compared: counts.compared + counts.listed,
        fixed: counts.fixed,
        ..Report::of(of, phase, began)
    };
    tell(&report, args.output.json)?;
    Ok(if ended == ReindexEnd::Stopped { Exit::Failed } else { Exit::Success })
}

impl<'a> Report<'a> {
    fn of(of: &'a Reindexing, phase: ReindexPhase, began: Instant) -> Self {
        Self {
            index: &of.index,
            old: &of.old,
            new: &of.new,
            phase: phase.name(),
            rows: 0,
            compared: 0,
            fixed: 0,
            seconds: began.elapsed().as_secs_f64(),
        }
    }
}

fn tell(report: &Report<'_>, json: bool) -> Result<(), Error> {
    if json {
        return render::json(report);
    }
    let Report { index, old, new, phase, rows, compared, fixed, seconds } = report;
    let did =
        format!("{rows} rows filled in, {compared} keys and documents compared, {fixed} put right, in {seconds:.1} s");
    let text = if *phase == ReindexPhase::Switched.name() {
        format!(
            "{index}: {new} is searched now ({did}).\n{old} is kept and takes no writes: `sync-runner reindex {index} --finish` \
             deletes it, `--rollback` goes back to it."
        )
    } else if *phase == ReindexPhase::RolledBack.name() {
        format!("{index}: {old} is searched again ({did}); {new} is deleted.")
    } else if *phase == ReindexPhase::Finished.name() {
        format!("{index}: {old} is deleted; {new} stays.")
    } else if *phase == ReindexPhase::Aborted.name() {
        format!("{index}: given up; {new} is deleted, {old} stays as it was.")
    } else {
        format!("{index}: stopped while {phase}. The same command goes on from here.")
    };
    render::text(&text)
}
