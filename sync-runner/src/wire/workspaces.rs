//! What creates, deletes and cleans up workspaces.

use std::sync::Arc;

use sync_core::adapter::HostsDirectory;
use sync_core::adapter::docker::{DockerConfig, DockerContainers, DockerTls};
use sync_core::adapter::postgres::{
    EndingStatement, EndingStatements, PostgresPlacements, PostgresSagas, PostgresWorkspaces, SagasConfig,
    WorkspaceStatements,
};
use sync_core::port::HostNames;
use sync_core::saga::{SagaConfig, SagaWorker};
use sync_core::workspace::cleanup::{Cleanup, CleanupConfig};
use sync_core::workspace::{CREATE, DELETE, Host, Site};
use sync_core::{Error, ErrorKind};

use super::Wire;
use crate::config::WorkspaceHost;

/// What works on workspaces.
#[derive(Debug)]
pub(crate) struct WorkspacesOf {
    /// Goes through creations and deletions.
    pub(crate) worker: SagaWorker,
    /// What was begun, and what became of it.
    pub(crate) sagas: Arc<PostgresSagas>,
    /// What workspaces occupy.
    pub(crate) placements: PostgresPlacements,
    /// The application's tables.
    pub(crate) workspaces: PostgresWorkspaces,
}

impl Wire<'_> {
    /// What works on workspaces.
    ///
    /// # Errors
    /// `Configuration` when no host is configured, or a setting can be seen to be wrong without connecting.
    pub(crate) fn workspaces(&self) -> Result<WorkspacesOf, Error> {
        let settings = &self.config.workspaces;
        let site = self.site()?;
        let sagas = Arc::new(PostgresSagas::new(self.database.clone(), self.sagas_config()));
        let config = SagaConfig::default()
            .concurrency(settings.concurrency)
            .step_timeout(settings.step_timeout)
            .attempts(settings.attempts)
            .undo_patience(settings.undo_patience);
        let definitions = vec![site.creation(), site.deletion()];
        let worker = SagaWorker::new(Arc::<PostgresSagas>::clone(&sagas), definitions, config)?;
        Ok(WorkspacesOf {
            worker,
            sagas,
            placements: PostgresPlacements::new(self.database.clone()),
            workspaces: self.application_workspaces(),
        })
    }

    /// What removes what nobody owns. When the database knows none of `suspicious` workspaces, it removes nothing.
    ///
    /// # Errors
    /// As [`workspaces`](Self::workspaces).
    pub(crate) fn cleanup(&self, suspicious: usize) -> Result<Cleanup, Error> {
        let settings = self.config.workspaces.cleanup;
        let config = CleanupConfig::default().interval(settings.interval).grace(settings.grace).suspicious(suspicious);
        Ok(Cleanup::new(self.site()?, config))
    }

    /// Where workspaces live.
    ///
    /// # Errors
    /// As [`workspaces`](Self::workspaces).
    pub(crate) fn site(&self) -> Result<Arc<Site>, Error> {
        let settings = &self.config.workspaces;
        if settings.hosts.is_empty() {
            let what = "workspaces.hosts: no host is configured: add a section [workspaces.hosts.NAME]";
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        let host = |(name, host): (&String, &WorkspaceHost)| {
            let tls = host.tls.as_ref().map(|tls| DockerTls::new(&tls.ca_file, &tls.certificate_file, &tls.key_file));
            let config = DockerConfig::default()
                .host(name)
                .engine(&host.engine)
                .tls(tls)
                .owner(&settings.owner)
                .timeout(settings.engine_timeout);
            Ok(Host {
                name: name.clone(),
                containers: Arc::new(DockerContainers::new(&config)?),
                addresses: host.addresses,
                network: host.network.clone(),
            })
        };
        let host_names = settings
            .host_names
            .as_ref()
            .map(|directory| Arc::new(HostsDirectory::new(directory.clone(), &settings.owner)) as Arc<dyn HostNames>);
        Ok(Arc::new(Site {
            hosts: settings.hosts.iter().map(host).collect::<Result<_, Error>>()?,
            workspaces: Arc::new(self.application_workspaces()),
            placements: Arc::new(PostgresPlacements::new(self.database.clone())),
            host_names,
            domain: settings.domain.clone(),
            defaults: settings.defaults.clone(),
        }))
    }

    fn application_workspaces(&self) -> PostgresWorkspaces {
        let statements = &self.config.workspaces.statements;
        let mut workspaces = WorkspaceStatements::new(statements.known.clone().unwrap_or_default());
        workspaces.create = statements.create.clone();
        workspaces.delete = statements.delete.clone();
        PostgresWorkspaces::new(self.database.clone(), workspaces)
    }

    fn sagas_config(&self) -> SagasConfig {
        let statements = &self.config.workspaces.statements;
        let statement = |key: &str, sql: &Option<String>| {
            sql.as_ref().map(|sql| EndingStatement::new(format!("workspaces.{key}"), sql))
        };
        let creation = EndingStatements::default()
            .done(statement("ready", &statements.ready))
            .compensated(statement("failed", &statements.failed));
        let deletion = EndingStatements::default().done(statement("deleted", &statements.deleted));
        SagasConfig::default()
            .holder(&self.holder)
            .lease(self.config.workspaces.lease)
            .endings([(CREATE.to_owned(), creation), (DELETE.to_owned(), deletion)].into())
    }
}
