//! Checks of workspaces: their hosts, where their names are told, and the application's statements.

use futures::future::join_all;
use sync_core::workspace::{Host, Site};
use sync_core::{Error, ErrorKind};
use tokio_postgres::types::Type;

use super::finding::{Finding, Verdict};
use super::in_time;
use crate::config::{Config, WorkspaceStatements};
use crate::render;
use crate::wire::Wire;

const PART: &str = "workspaces";

/// Nothing where no host is configured. A host that says nothing holds up no other check.
pub(super) async fn check(config: &Config, wire: &Wire<'_>) -> Vec<Finding> {
    if config.workspaces.hosts.is_empty() {
        return Vec::new();
    }
    let site = match wire.site() {
        Ok(site) => site,
        Err(error) => return vec![Finding::failed(PART, "settings", &error)],
    };
    let image = site.defaults.image.as_deref();
    let hosts = join_all(site.hosts.iter().map(async |found| {
        let part = format!("workspaces.hosts.{}", found.name);
        in_time(&part, host(&part, found, image)).await
    }));
    let names = in_time(PART, names(&site));
    let database = in_time(PART, statements(&site, &config.workspaces.statements, wire));
    let (hosts, names, database) = tokio::join!(hosts, names, database);
    hosts.into_iter().flatten().chain(names).chain(database).collect()
}

/// What is asked for on a host; one whose engine does not answer is asked for nothing else.
async fn host(part: &str, host: &Host, image: Option<&str>) -> Vec<Finding> {
    let mut findings = vec![engine(part, host).await];
    if findings.iter().any(|finding| finding.verdict != Verdict::Ok) {
        return findings;
    }
    if let Some(image) = image {
        findings.push(match host.containers.check_image(image).await {
            Ok(()) => Finding::ok(part, "image", format!("{image} is there")),
            Err(error) => Finding::failed(part, "image", &error),
        });
    }
    if let (Some(network), Some(addresses)) = (&host.network, host.addresses) {
        findings.push(match host.containers.check_network(network, addresses).await {
            Ok(()) => Finding::ok(part, "network", format!("{network} has all of the addresses")),
            Err(error) => Finding::failed(part, "network", &error),
        });
    }
    findings
}

async fn engine(part: &str, host: &Host) -> Finding {
    match host.containers.list().await {
        Ok(containers) => {
            let found = format!("answers; it has {} of ours", render::counted(containers.len() as u64, "container"));
            Finding::ok(part, "engine", found)
        }
        Err(error) => Finding::failed(part, "engine", &error),
    }
}

async fn names(site: &Site) -> Vec<Finding> {
    let Some(host_names) = &site.host_names else { return Vec::new() };
    vec![match host_names.list().await {
        Ok(names) => {
            Finding::ok(PART, "host_names", format!("{} of ours", render::counted(names.len() as u64, "name")))
        }
        Err(error) => Finding::failed(PART, "host_names", &error),
    }]
}

/// Looks for a workspace, and has the database understand the statements without running them.
async fn statements(site: &Site, statements: &WorkspaceStatements, wire: &Wire<'_>) -> Vec<Finding> {
    let known = match site.workspaces.look(&["sync-runner check".to_owned()]).await {
        Ok(_) => Finding::ok(PART, "known", "gives `id` and `is_gone`"),
        Err(error) => Finding::failed(PART, "known", &error),
    };
    let WorkspaceStatements { create, ready, failed, delete, deleted, .. } = statements;
    let told = [("ready", ready), ("failed", failed), ("deleted", deleted)];
    let asked = [("create", create), ("delete", delete)];
    let mut findings = vec![known];
    for (setting, statement) in asked.into_iter().chain(told) {
        let Some(sql) = statement else { continue };
        findings.push(match understood(setting, sql, wire).await {
            Ok(()) => Finding::ok(PART, setting, "PostgreSQL understands it"),
            Err(error) => Finding::failed(PART, setting, &error),
        });
    }
    let untold: Vec<_> =
        told.iter().filter(|(_, statement)| statement.is_none()).map(|(setting, _)| *setting).collect();
    if !untold.is_empty() {
        let found = format!("not set: {}; the application is not told of that", untold.join(", "));
        findings.push(Finding::warning(PART, "statements", found));
    }
    findings
}

async fn understood(setting: &str, sql: &str, wire: &Wire<'_>) -> Result<(), Error> {
    let client = wire.database().client().await?;
    client.prepare_typed(sql, &[Type::JSONB]).await.map(drop).map_err(|error| {
        let why = error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned());
        Error::new(ErrorKind::Configuration, format!("workspaces.{setting}: {why}")).with_source(error)
    })
}
