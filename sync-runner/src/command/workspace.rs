//! `workspace`: creates, shows, deletes and cleans up workspaces.

mod cleanup;
mod view;

use std::time::Duration;

use serde_json::{Map, Value, json};
use sync_core::port::{PastSaga, Placements, SagaEvent, Sagas, WorkspaceState, Workspaces as _, check_workspace_id};
use sync_core::workspace::WorkspaceOrder;
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::view::Workspace;
use crate::cli::{
    WorkspaceCommand, WorkspaceCreateArgs, WorkspaceDeleteArgs, WorkspaceGiveUpArgs, WorkspaceListArgs,
    WorkspaceStatusArgs,
};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::wire::{Wire, WorkspacesOf};
use crate::workspaces::is_about_workspaces;
use crate::{render, signals};

/// Between two looks at a saga that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// A workspace has two sagas, one that creates it and one that deletes it; others may be about it, too.
const SAGAS: usize = 9;

/// Does what is asked of workspaces.
pub(super) async fn workspace(config: &Config, command: &WorkspaceCommand) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    let of = wire.workspaces()?;
    match command {
        WorkspaceCommand::Create(args) => create(config, &of, args).await,
        WorkspaceCommand::List(args) => list(&of, args).await,
        WorkspaceCommand::Status(args) => status(&of, args).await,
        WorkspaceCommand::Delete(args) => delete(&of, args).await,
        WorkspaceCommand::GiveUp(args) => give_up(&of, args).await,
        WorkspaceCommand::Cleanup(args) => cleanup::cleanup(config, &wire, args).await,
    }
}

async fn create(config: &Config, of: &WorkspacesOf, args: &WorkspaceCreateArgs) -> Result<Exit, Failure> {
    let id = args.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let params = params(args);
    // Before anything is written: what the steps would refuse is told to whoever asks.
    check_workspace_id(&id)?;
    WorkspaceOrder::read(&params)?;
    let details = args.details.clone().unwrap_or_else(|| json!({}));
    of.workspaces.create(&id, &params, &details, config.workspaces.time_allowed).await?;
    finish(of, &id, args.detach, args.output.json).await
}

/// What the workspace is to be like: what the flags say wins.
fn params(args: &WorkspaceCreateArgs) -> Value {
    let mut params = match &args.params {
        Some(Value::Object(params)) => params.clone(),
        Some(_) | None => Map::new(),
    };
    for (name, said) in [("image", &args.image), ("host", &args.host), ("host_name", &args.host_name)] {
        if let Some(value) = said {
            params.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(params)
}

async fn delete(of: &WorkspacesOf, args: &WorkspaceDeleteArgs) -> Result<Exit, Failure> {
    let id = &args.workspace;
    let is_placed = async || of.placements.get(id).await.map(|placement| placement.is_some());
    let is_written = async || {
        let seen = of.workspaces.look(std::slice::from_ref(id)).await?;
        Ok::<_, Error>(!seen.states.contains(&WorkspaceState::Missing))
    };
    if past(of, id).await?.is_empty() && !is_placed().await? && !is_written().await? {
        return Err(unknown(id).into());
    }
    of.workspaces.delete(id).await?;
    finish(of, id, args.detach, args.output.json).await
}

async fn give_up(of: &WorkspacesOf, args: &WorkspaceGiveUpArgs) -> Result<Exit, Failure> {
    let id = &args.workspace;
    let last = past(of, id).await?;
    let workspace = known(of, id, &last).await?;
    let mut is_given_up = false;
    for past in last.iter().filter(|past| is_about_workspaces(past)) {
        is_given_up |= of.sagas.end_untold(&past.saga.kind, id).await?;
    }
    if !is_given_up {
        let what = format!(
            "workspace {id} is {}, and its end is not refused: there is nothing to give up (`workspace status` says `waits` \
             where there is)",
            workspace.state
        );
        return Err(Error::new(ErrorKind::Refused, what).into());
    }
    finish(of, id, false, args.output.json).await
}

/// Works on the sagas about a workspace until they are over, unless others are to, and tells what became of it.
async fn finish(of: &WorkspacesOf, id: &str, detach: bool, json: bool) -> Result<Exit, Failure> {
    let shutdown = CancellationToken::new();
    if !detach {
        signals::listen(shutdown.clone())?;
        let ((), followed) = tokio::join!(of.worker.run_for(id, shutdown.clone()), follow(of, id, &shutdown));
        followed?;
    }
    let workspace = known(of, id, &past(of, id).await?).await?;
    tell(&workspace, json)?;
    if !detach && workspace.is_under_way() {
        render::note("interrupted; a process with the role workspaces goes on with it")?;
        return Ok(Exit::Failed);
    }
    Ok(if workspace.is_well() { Exit::Success } else { Exit::Failed })
}

/// Tells of each step on standard error, until nothing about the workspace is under way.
async fn follow(of: &WorkspacesOf, id: &str, shutdown: &CancellationToken) -> Result<(), Error> {
    let mut told = 0;
    let outcome = loop {
        let past = match past(of, id).await {
            Ok(past) => past,
            Err(error) => break Err(error),
        };
        for event in events(&past).skip(told) {
            let words: Vec<_> = view::told(event).into_iter().filter(|word| !word.is_empty()).collect();
            render::note(&words.join(": "))?;
        }
        told = events(&past).count();
        if past.iter().all(|past| past.outcome.is_some()) || shutdown.is_cancelled() {
            break Ok(());
        }
        shutdown.run_until_cancelled(sleep(LOOK)).await;
    };
    shutdown.cancel();
    outcome
}

async fn status(of: &WorkspacesOf, args: &WorkspaceStatusArgs) -> Result<Exit, Failure> {
    let id = &args.workspace;
    let past = past(of, id).await?;
    let workspace = known(of, id, &past).await?;
    if args.output.json {
        let mut told = json!(workspace);
        told["log"] = json!(events(&past).collect::<Vec<_>>());
        render::json(&told)?;
    } else {
        tell(&workspace, false)?;
        render::text(&render::table(["STEP", "WHAT", "MORE"], events(&past).map(view::told)))?;
    }
    Ok(Exit::Success)
}

async fn list(of: &WorkspacesOf, args: &WorkspaceListArgs) -> Result<Exit, Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    // Each has two sagas at most.
    let past = of.sagas.list(None, limit.saturating_mul(2)).await?;
    let placements = of.placements.list().await?;
    let mut workspaces: Vec<Workspace> = Vec::new();
    for past in past.iter().filter(|past| is_about_workspaces(past)) {
        if workspaces.len() < limit && workspaces.iter().all(|known| known.workspace != past.saga.subject) {
            let placement = placements.iter().find(|placement| placement.workspace == past.saga.subject);
            workspaces.push(Workspace::new(past, placement));
        }
    }
    if args.output.json {
        render::json(&json!({ "workspaces": workspaces }))?;
    } else if workspaces.is_empty() {
        render::text("No workspaces.")?;
    } else {
        let header = ["WORKSPACE", "STATE", "HOST", "ADDRESS", "NAME", "BEGAN", "ERROR"];
        render::text(&render::table(header, workspaces.iter().map(cells)))?;
    }
    Ok(Exit::Success)
}

fn cells(workspace: &Workspace) -> [String; 7] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        workspace.workspace.clone(),
        workspace.state.to_owned(),
        or_none(&workspace.host),
        or_none(&workspace.address),
        or_none(&workspace.host_name),
        format!("{:.0}", workspace.began_at),
        or_none(&workspace.error),
    ]
}

/// What was ever begun about a workspace, the newest first.
async fn past(of: &WorkspacesOf, id: &str) -> Result<Vec<PastSaga>, Error> {
    of.sagas.list(Some(id), SAGAS).await
}

/// What they did, in order.
fn events(past: &[PastSaga]) -> impl Iterator<Item = &SagaEvent> {
    past.iter().rev().flat_map(|past| &past.saga.log)
}

/// The workspace these sagas are about.
async fn known(of: &WorkspacesOf, id: &str, past: &[PastSaga]) -> Result<Workspace, Error> {
    let last = past.iter().find(|past| is_about_workspaces(past)).ok_or_else(|| unknown(id))?;
    Ok(Workspace::new(last, of.placements.get(id).await?.as_ref()))
}

fn unknown(id: &str) -> Error {
    let what = format!("nothing is known of a workspace {id:?}: `workspace list` shows those there are");
    Error::new(ErrorKind::Refused, what)
}

fn tell(workspace: &Workspace, json: bool) -> Result<(), Error> {
    if json {
        return render::json(workspace);
    }
    let mut line = format!("workspace {}: {}", workspace.workspace, workspace.state);
    for (what, value) in [
        ("host", &workspace.host),
        ("container", &workspace.container),
        ("address", &workspace.address),
        ("name", &workspace.host_name),
        ("error", &workspace.error),
        ("waits", &workspace.waits),
    ] {
        if let Some(value) = value {
            line = format!("{line}\n  {what} {value}");
        }
    }
    for (step, why) in &workspace.left {
        line = format!("{line}\n  left for the cleanup: {step}: {why}");
    }
    render::text(&line)
}
