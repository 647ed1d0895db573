//! `demo`: the whole way on the configured servers, in a database, a topic and an index of its own. What is not configured it
//! does without: no broker, an index in a directory, a PostgreSQL that goes with it.

mod private_postgres;
mod scene;
mod story;
mod workload;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sync_core::indexer::IndexerProgress;
use sync_core::port::Searcher;
use sync_core::query::{Order, Query};
use sync_core::relay::RelayProgress;
use sync_core::repair::{Comparison, compare};
use sync_core::{Error, ErrorKind, Remedy};
use tokio::net::TcpListener;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::scene::Scene;
use self::workload::Tally;
use crate::cli::{DemoArgs, RoleName};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::wire::Wire;
use crate::{signals, tasks};

/// How long the index may take to agree once the last transaction is committed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Writes, watches, compares and searches.
pub(super) async fn demo(config: &Config, args: &DemoArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    if args.stay {
        refuse_taken(config.search.listen).await?;
    }
    let scene = Scene::set(config).await?;
    let played = play(&scene, args, began).await;
    if played.is_err() {
        // Why it failed matters more than that this cannot be told.
        drop(story::cut_short(&scene));
    }
    scene.close().await;
    played
}

/// Sees that searches can be answered there, before anything is made.
async fn refuse_taken(listen: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(listen).await.map(drop).map_err(|error| {
        let what = format!(
            "search.listen: cannot listen on {listen}; give the demo an address of its own, such as --set \
             search.listen=127.0.0.1:8095"
        );
        Error::new(ErrorKind::Configuration, what).with_source(error)
    })
}

async fn play(scene: &Scene, args: &DemoArgs, began: Instant) -> Result<Exit, Failure> {
    story::scene(scene)?;
    let wire = Wire::new(&scene.config)?;
    let roles: &[_] = if args.stay {
        &[RoleName::Relay, RoleName::Indexer, RoleName::Search]
    } else {
        &[RoleName::Relay, RoleName::Indexer]
    };
    let (roles, progress) = super::run::start(&wire, &scene.config, roles)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;
    story::running(scene)?;
    let acts = async {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => Err(Error::new(ErrorKind::Unavailable, "stopped before the end").into()),
            outcome = act(&wire, scene, args, &progress) => outcome,
        };
        if args.stay && matches!(outcome, Ok(true)) {
            story::staying(scene)?;
            let writing = workload::go_on(&scene.database);
            shutdown.run_until_cancelled(writing).await.unwrap_or(Ok(()))?;
        }
        outcome
    };
    let acts = async {
        let outcome = acts.await;
        shutdown.cancel();
        outcome
    };
    let (ended, outcome) = tokio::join!(tasks::run_all(roles, &shutdown), acts);
    // A role that ended is why the rest was stopped.
    ended?;
    let equal = outcome?;
    story::end(scene, began.elapsed())?;
    Ok(if equal { Exit::Success } else { Exit::Failed })
}

/// What happens while the runner runs. Says whether the index agreed in the end.
async fn act(wire: &Wire<'_>, scene: &Scene, args: &DemoArgs, progress: &Progress) -> Result<bool, Failure> {
    let tally = Tally::default();
    let began = Instant::now();
    let relay = progress.relay.as_ref().map(|(relay, _)| relay);
    let indexer = progress.indexers.first().map(|(_, indexer, _)| indexer.clone()).unwrap_or_default();
    let written = {
        let writing = workload::write(&scene.database, args.jobs, &tally);
        let telling = tell(&tally, relay, &indexer, began);
        tokio::select! {
            written = writing => written,
            error = telling => Err(error),
        }
    };
    written?;
    story::written(&tally, began.elapsed())?;

    let committed = Instant::now();
    let projection = wire.projection(scene::INDEX, scene.index());
    let sink = wire.sink(scene::INDEX, scene.index())?.inventory();
    let agree = async {
        loop {
            match compare(&projection, &*sink).await {
                Ok(comparison) if comparison.is_equal() => return Ok(comparison),
                Err(error) if error.remedy() != Remedy::Retry => return Err(error),
                Ok(_) | Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let telling = tell(&tally, relay, &indexer, began);
    let agreed: Result<Option<Comparison>, Error> = tokio::select! {
        agreed = timeout(PATIENCE, agree) => agreed.map_or(Ok(None), |agreed| agreed.map(Some)),
        error = telling => Err(error),
    };
    let Some(comparison) = agreed? else {
        let comparison = compare(&projection, &*sink).await?;
        story::differs(scene, &comparison, PATIENCE)?;
        return Ok(false);
    };
    story::equal(scene, &comparison, committed.elapsed(), sink.count().await?)?;
    search(wire, scene).await?;
    Ok(true)
}

/// Asks the index and, as if that were away, the database.
async fn search(wire: &Wire<'_>, scene: &Scene) -> Result<(), Error> {
    let (name, index) = (scene::INDEX, scene.index());
    let Some(searchable) = &index.search else { return Ok(()) };
    let text = "invoice workspace.status:RUNNING priority:>=2";
    let query = Query { limit: 3, order: Some(Order::parse("-created_at")), ..Query::parse(text, &searchable.fields)? };
    let answer = wire.search(name, index, searchable)?.search(&query).await?;
    story::found(text, answer.source, &answer.found)?;
    let rows = wire.searched_rows(name, index, searchable)?;
    story::found(text, rows.name(), &rows.search(&query).await?)
}

/// One line a second; ends only with an error.
async fn tell(tally: &Tally, relay: Option<&RelayProgress>, indexer: &IndexerProgress, began: Instant) -> Error {
    let mut second = interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        second.tick().await;
        if let Err(error) = story::progress(
            began.elapsed(),
            tally,
            relay.map(RelayProgress::counts).unwrap_or_default(),
            indexer.counts(),
        ) {
            return error;
        }
    }
}
