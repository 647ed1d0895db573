//! `run`: the roles of this process, until a signal or an error that no waiting mends.

mod earlier;
mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sync_core::port::Sagas;
use sync_core::workspace::{CREATE, DELETE};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::{RoleName, RunArgs};
use crate::config::{Bus, Config, Problems};
use crate::exit::{Exit, Failure};
use crate::http::{AdminServer, Metrics, SearchServer, SearchedIndex};
use crate::letters::LetterDesk;
use crate::monitor::{Local, Monitor, Process};
use crate::progress::Progress;
use crate::signals;
use crate::tasks::{self, Role};
use crate::wire::{IndexerOf, Wire};

pub(super) use self::schema::older;

/// How often sagas that ended long ago are forgotten.
const FORGET: Duration = Duration::from_secs(3_600);

/// Runs them. What ends them has been logged when it returns.
pub(super) async fn run(config: &Config, args: &RunArgs) -> Result<Exit, Failure> {
    refuse_what_cannot_work(config, &args.roles)?;
    let metrics = Metrics::install()?;
    let wire = Wire::new(config)?;
    let looking = wire.looking()?;
    let (mut roles, progress) = start(&wire, config, &args.roles)?;
    let monitor = if args.roles.contains(&RoleName::Admin) {
        let monitor = Monitor::new(config, &looking, local(&wire, &args.roles, &progress))?;
        let desk = LetterDesk::new(config, &looking)?;
        let server = AdminServer::new(config.admin.clone(), monitor.seen(), metrics.clone(), desk);
        roles.push(Role::new("admin".to_owned(), move |shutdown| server.run(shutdown)));
        Some(monitor)
    } else {
        None
    };
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;
    match schema::refuse_older(wire.database().clone()).await {
        Ok(looking) => roles.extend(looking),
        Err(error) => {
            tracing::error!(kind = error.kind().name(), %error, "nothing is started");
            return Ok(Exit::of(error.kind()));
        }
    }
    let monitoring = async {
        if let Some(monitor) = monitor {
            monitor.run(&shutdown).await;
        }
    };
    let running = tasks::run_all(roles, &shutdown);
    let (outcome, (), (), ()) =
        tokio::join!(running, progress.report(&shutdown), monitoring, metrics.keep_up(&shutdown));
    wire.close().await;
    match outcome {
        Ok(()) => {
            tracing::info!("ended as it was asked to");
            Ok(Exit::Success)
        }
        Err(error) => {
            tracing::error!(kind = error.kind().name(), %error, "ended");
            Ok(Exit::of(error.kind()))
        }
    }
}

/// Refuses what would hand on to nobody, or wait for nobody, where there is no broker.
///
/// # Errors
/// What is wrong with these roles.
pub(super) fn without_broker(roles: &[RoleName]) -> Result<(), &'static str> {
    if roles.contains(&RoleName::Relay) == roles.contains(&RoleName::Indexer) {
        return Ok(());
    }
    Err(
        "there is no broker between relay and indexer (relay.bus is \"direct\"), so they run in one process: leave out --roles, or \
         set kafka.brokers",
    )
}

fn refuse_what_cannot_work(config: &Config, roles: &[RoleName]) -> Result<(), Problems> {
    if config.relay.bus == Bus::Direct {
        without_broker(roles).map_err(|what| Problems::one("relay.bus", what))?;
    }
    if roles.contains(&RoleName::Indexer) && config.indexes.is_empty() {
        return Err(Problems::one(
            "indexes",
            "no index is configured, so there is nothing for the indexer to do: add a section [indexes.NAME], or run \
             only the relay with --roles relay",
        ));
    }
    let is_about_workspaces = |role| [RoleName::Workspaces, RoleName::Cleanup].contains(role);
    if config.workspaces.hosts.is_empty() && roles.iter().all(is_about_workspaces) {
        return Err(Problems::one(
            "workspaces.hosts",
            "no host is configured, so there is nothing for the roles workspaces and cleanup to do: add a section \
             [workspaces.hosts.NAME]",
        ));
    }
    if roles == [RoleName::Search] && config.indexes.values().all(|index| index.search.is_none()) {
        return Err(Problems::one(
            "indexes",
            "no index can be searched, so there is nothing for the role search to do: add a section [indexes.NAME.search]",
        ));
    }
    Ok(())
}

/// Makes the roles, ready to be run, and a view of their progress.
///
/// # Errors
/// `Configuration` when a setting can be seen to be wrong without connecting.
pub(super) fn start(
    wire: &Wire<'_>,
    config: &Config,
    named: &[RoleName],
) -> Result<(Vec<Role>, Progress), sync_core::Error> {
    let [relays, indexes] = [RoleName::Relay, RoleName::Indexer].map(|role| named.contains(&role));
    let mut roles = Vec::new();
    let mut progress = Progress::default();
    if relays {
        let (relay, source) = wire.relay()?;
        progress.relay = Some((relay.progress(), source));
        roles.push(Role::new("relay".to_owned(), move |shutdown| async move { relay.run(shutdown).await }));
    }
    for (name, index) in config.indexes.iter().filter(|_| indexes) {
        let indexers = wire.indexers(name, index)?;
        for IndexerOf { topic, indexer, subscriber } in indexers.configured()? {
            progress.indexers.push((name.clone(), indexer.progress(), subscriber));
            let role = format!("indexer of {name} from {topic}");
            roles.push(Role::new(role, move |shutdown| async move { indexer.run(shutdown).await }));
        }
        if config.relay.bus == Bus::Kafka {
            let role = format!("indexer of {name} from retry topics of earlier settings");
            roles.push(Role::new(role, move |shutdown| earlier::run(indexers, shutdown)));
        }
    }
    if named.contains(&RoleName::Reconciler) && !config.indexes.is_empty() {
        let reconciler = wire.reconciler()?;
        roles.push(Role::new("reconciler".to_owned(), move |shutdown| async move {
            reconciler.run(&shutdown).await;
            Ok(())
        }));
    }
    if named.contains(&RoleName::Search) {
        let searched = Arc::new(searched(wire, config)?);
        if !searched.is_empty() {
            progress.searched = Arc::clone(&searched);
            let server = SearchServer::new(config.search.listen, searched, config.search.concurrency);
            roles.push(Role::new("search".to_owned(), move |shutdown| server.run(shutdown)));
        }
    }
    if !config.workspaces.hosts.is_empty() {
        roles.extend(workspaces(wire, config, named)?);
    }
    if let Some(alerts) = wire.alerts()? {
        roles.push(Role::new("alerts".to_owned(), move |shutdown| async move {
            alerts.run(shutdown).await;
            Ok(())
        }));
    }
    Ok((roles, progress))
}

/// What creates, deletes and cleans up workspaces.
fn workspaces(wire: &Wire<'_>, config: &Config, named: &[RoleName]) -> Result<Vec<Role>, sync_core::Error> {
    let mut roles = Vec::new();
    if named.contains(&RoleName::Workspaces) {
        let (of, retention) = (wire.workspaces()?, config.workspaces.retention);
        roles.push(Role::new("workspaces".to_owned(), move |shutdown| async move {
            tokio::join!(of.worker.run(shutdown.clone()), forget(&*of.sagas, retention, &shutdown));
            Ok(())
        }));
    }
    if named.contains(&RoleName::Cleanup) {
        let cleanup = wire.cleanup(config.workspaces.cleanup.suspicious)?;
        roles.push(Role::new("cleanup".to_owned(), move |shutdown| async move {
            cleanup.run(shutdown).await;
            Ok(())
        }));
    }
    Ok(roles)
}

/// Forgets sagas that ended long ago.
async fn forget(sagas: &dyn Sagas, retention: Duration, shutdown: &CancellationToken) {
    let forgetting = async {
        loop {
            match sagas.purge(&[CREATE, DELETE], retention).await {
                Ok(0) => sleep(FORGET).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "old creations and deletions of workspaces are not forgotten; tried again later");
                    sleep(FORGET).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(forgetting).await.unwrap_or_default()
}

/// What of this process is looked at beside the stages.
fn local(wire: &Wire<'_>, roles: &[RoleName], progress: &Progress) -> Local {
    let indexers = progress.indexers.iter().map(|(index, progress, _)| (index.clone(), progress.clone()));
    Local {
        process: Process::new(wire.holder(), roles),
        working: wire.database().clone(),
        indexers: indexers.collect(),
        searched: Arc::clone(&progress.searched),
    }
}

/// What answers searches of the indexes that can be searched.
fn searched(wire: &Wire<'_>, config: &Config) -> Result<BTreeMap<String, SearchedIndex>, sync_core::Error> {
    let mut indexes = BTreeMap::new();
    for (name, index) in &config.indexes {
        if let Some(searchable) = &index.search {
            let search = wire.search(name, index, searchable)?;
            indexes.insert(name.clone(), SearchedIndex { search, fields: Arc::clone(&searchable.fields) });
        }
    }
    Ok(indexes)
}
