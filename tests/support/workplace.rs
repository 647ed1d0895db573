//! The reference domain with workspaces on an engine, and what is to hold of them in the end.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sync_core::adapter::HostsDirectory;
use sync_core::adapter::docker::{DockerConfig, DockerContainers};
use sync_core::adapter::postgres::{
    EndingStatement, EndingStatements, Postgres, PostgresConfig, PostgresPlacements, PostgresSagas, PostgresWorkspaces,
    SagasConfig, WorkspaceStatements,
};
use sync_core::policy::Backoff;
use sync_core::port::{AddressRange, PastSaga, Placements, SagaOutcome, Sagas};
use sync_core::saga::{SagaConfig, SagaDefinition, SagaStep, SagaWorker};
use sync_core::workspace::cleanup::{Cleanup, CleanupConfig};
use sync_core::workspace::{CREATE, DELETE, Host, Site, WorkspaceOrder};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::domain::Domain;
use super::engine;
use super::pipeline::Way;
use super::runner::{Deployment, Runner};
use super::servers;

const SCHEMA: &str = include_str!("../../examples/jobs/workspaces.sql");
const KNOWN: &str = "select id, status in ('FAILED', 'DELETED') as is_gone from public.workspaces";

/// How long nobody may be at work on a saga until another one takes it up.
pub const LEASE: Duration = Duration::from_secs(1);

/// How long one try of a step may take.
pub const STEP: Duration = Duration::from_secs(5);

/// How long a saga may take to be over.
const BOUND: Duration = Duration::from_secs(120);

/// A workspace that is there, and nobody's test.
const SOMEBODY: &str = "00000000-0000-4000-8000-000000000001";

/// Its name.
const TAKEN: &str = "taken.example";

/// What a workspace is to be like that is there in the end.
pub fn fine() -> Value {
    json!({})
}

/// One whose last step is refused, so that all of it is taken back.
pub fn doomed() -> Value {
    json!({ "host_name": TAKEN })
}

pub struct Workplace {
    pub deployment: Deployment,
    pub engine: String,
    pub owner: String,
    host_names: TempDir,
    network: String,
    pub addresses: AddressRange,
}

impl Workplace {
    pub async fn new(engine: &str) -> Self {
        let deployment = Deployment::new(Way::Direct).await;
        deployment.domain.execute(SCHEMA).await;
        // Networks of one engine must not overlap.
        let (owner, [second, third]) = (servers::unique("owner"), rand::random::<[u8; 2]>());
        let subnet = |last| IpAddr::V4(Ipv4Addr::new(10, second, third, last));
        engine::network(engine, &owner, &format!("{}/24", subnet(0))).await;
        let addresses = AddressRange { first: subnet(10), last: subnet(250) };
        let workplace = Self {
            deployment,
            engine: engine.to_owned(),
            network: owner.clone(),
            owner,
            host_names: TempDir::new().unwrap(),
            addresses,
        };
        let insert = format!("insert into workspaces (id, name, status) values ('{SOMEBODY}', 'somebody', 'RUNNING')");
        workplace.deployment.domain.execute(&insert).await;
        workplace.placements().place(SOMEBODY, "one").await.unwrap();
        workplace.placements().take_host_name(SOMEBODY, TAKEN).await.unwrap();
        workplace
    }

    pub fn domain(&self) -> &Domain {
        &self.deployment.domain
    }

    /// Connections that can be told from others by this name.
    pub fn database(&self, name: &str) -> Postgres {
        let separator = if self.domain().url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}application_name={name}", self.domain().url);
        Postgres::new(&PostgresConfig::new(url)).unwrap()
    }

    fn placements(&self) -> PostgresPlacements {
        PostgresPlacements::new(self.database("placements"))
    }

    fn site(&self, database: &Postgres) -> Arc<Site> {
        let config = DockerConfig::default().host("one").engine(&self.engine).owner(&self.owner).timeout(STEP);
        let host = Host {
            name: "one".to_owned(),
            containers: Arc::new(DockerContainers::new(&config).unwrap()),
            addresses: Some(self.addresses),
            network: Some(self.network.clone()),
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let defaults = WorkspaceOrder {
            image: Some(engine::IMAGE.to_owned()),
            command: Some(words(&["sleep", "100000"])),
            setup: Some(vec![words(&["touch", "/tmp/set-up"])]),
            ..WorkspaceOrder::default()
        };
        let statements = WorkspaceStatements::new(KNOWN);
        Arc::new(Site {
            hosts: vec![host],
            workspaces: Arc::new(PostgresWorkspaces::new(database.clone(), statements)),
            placements: Arc::new(PostgresPlacements::new(database.clone())),
            host_names: Some(Arc::new(HostsDirectory::new(self.host_names.path().to_owned(), &self.owner))),
            domain: Some("example".to_owned()),
            defaults,
        })
    }

    fn sagas(&self, database: Postgres) -> PostgresSagas {
        let statement = |name: &str| EndingStatement::new(name, format!("select public.{name}($1)"));
        let endings = [
            (
                CREATE,
                EndingStatements::default()
                    .done(statement("workspace_ready"))
                    .compensated(statement("workspace_failed")),
            ),
            (DELETE, EndingStatements::default().done(statement("workspace_deleted"))),
        ];
        let endings = endings.map(|(kind, statements)| (kind.to_owned(), statements)).into();
        PostgresSagas::new(database, SagasConfig::default().holder("test").lease(LEASE).endings(endings))
    }

    /// A worker whose connections have this name, with something around each step.
    pub fn worker(
        &self,
        name: &str,
        around: impl Fn(Arc<dyn SagaStep>) -> Arc<dyn SagaStep>,
        step_timeout: Duration,
    ) -> SagaWorker {
        let database = self.database(name);
        let site = self.site(&database);
        let config = SagaConfig::default()
            .poll_interval(Duration::from_millis(50))
            .step_timeout(step_timeout)
            .undo_patience(Duration::from_secs(6))
            .backoff(Backoff::new(Duration::from_millis(50), Duration::from_millis(400)));
        let definitions: Vec<SagaDefinition> =
            [site.creation(), site.deletion()].map(|definition| definition.around(&around)).into();
        SagaWorker::new(Arc::new(self.sagas(database)), definitions, config).unwrap()
    }

    /// Has a workspace like this created, without anybody who does it.
    pub async fn order(&self, params: Value) -> String {
        self.order_within(params, Duration::from_secs(180)).await
    }

    /// The same with so much time.
    pub async fn order_within(&self, params: Value, time_allowed: Duration) -> String {
        let id = uuid::Uuid::now_v7().to_string();
        self.order_as(&id, params, time_allowed).await;
        id
    }

    /// The same under this id.
    pub async fn order_as(&self, id: &str, params: Value, time_allowed: Duration) {
        let statements = WorkspaceStatements::new(KNOWN)
            .create("select public.workspace_creating($1)")
            .delete("select public.workspace_deleting($1)");
        let workspaces = PostgresWorkspaces::new(self.database("order"), statements);
        workspaces.create(id, &params, &json!({ "name": id }), time_allowed).await.unwrap();
    }

    /// Has one deleted, without anybody who does it.
    pub async fn delete(&self, id: &str) {
        let told = json!({ "workspace": id }).to_string();
        let sql = format!("select workspace_deleting('{told}'), outbox.delete_workspace('{id}')");
        self.domain().execute(&sql).await;
    }

    /// Waits until all that was begun about a workspace is over, and says what became of the first of it.
    pub async fn until_over(&self, id: &str) -> PastSaga {
        let sagas = self.sagas(self.database("watch"));
        let over = async {
            loop {
                let past = sagas.list(Some(id), 9).await.unwrap();
                if !past.is_empty() && past.iter().all(|past| past.outcome.is_some()) {
                    return past.into_iter().next_back().unwrap();
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(BOUND, over).await.unwrap_or_else(|_| panic!("{id} is not over"))
    }

    /// Works on what was begun about a workspace until it is over.
    pub async fn finish(&self, id: &str, worker: &SagaWorker) -> PastSaga {
        let shutdown = CancellationToken::new();
        let over = async {
            let past = self.until_over(id).await;
            shutdown.cancel();
            past
        };
        tokio::join!(worker.run_for(id, shutdown.clone()), over).1
    }

    /// What removes what nobody owns; nothing is too young for it.
    pub fn cleanup(&self) -> Cleanup {
        let database = self.database("cleanup");
        let config = CleanupConfig::default().grace(Duration::ZERO).suspicious(usize::MAX);
        Cleanup::new(self.site(&database), config)
    }

    /// Whether anything is left of a workspace: a container, an address, a name.
    pub async fn remains(&self, id: &str) -> Vec<String> {
        let mut remains = Vec::new();
        if engine::workspaces(&self.engine, &self.owner).await.iter().any(|workspace| workspace == id) {
            remains.push("a container".to_owned());
        }
        if let Some(placement) = self.placements().get(id).await.unwrap() {
            remains.push(format!("{placement:?}"));
        }
        if fs::exists(self.host_names.path().join(format!("workspace-{id}"))).unwrap() {
            remains.push("a name".to_owned());
        }
        remains
    }

    /// What the application's tables say: the workspace's status, its job's, and the job's error.
    pub async fn told(&self, id: &str) -> (String, String, Option<String>) {
        let sql = "select w.status, j.status, j.error_message from workspaces w join jobs j on j.workspace_id = w.id
                    where w.id::text = $1";
        let row = self.domain().client.query_one(sql, &[&id]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// Whether a workspace is there with all it has, or not at all, as the application was told.
    pub async fn assert_whole(&self, id: &str, past: &PastSaga, story: &str) {
        let remains = self.remains(id).await;
        let (workspace, job, error) = self.told(id).await;
        match past.outcome {
            Some(SagaOutcome::Done) => {
                assert_eq!((workspace.as_str(), job.as_str()), ("RUNNING", "COMPLETED"), "{story}: {past:?}");
                assert_eq!(remains.len(), 3, "{story}: {remains:?} {past:?}");
            }
            Some(SagaOutcome::Compensated) | None => {
                assert_eq!((workspace.as_str(), job.as_str()), ("FAILED", "FAILED"), "{story}: {past:?}");
                assert!(error.is_some_and(|error| !error.is_empty()), "{story}: {past:?}");
                assert!(remains.is_empty(), "{story}: {remains:?} {past:?}");
                let sql = "select count(*) from outbox.events where topic = 'notifications' and key = $1";
                let told: i64 = self.domain().client.query_one(sql, &[&id]).await.unwrap().get(0);
                assert_eq!(told, 1, "{story}: the user is told once");
            }
        }
    }

    /// A process that keeps the index up to date.
    pub fn indexing(&self) -> Runner {
        let mut runner = self.deployment.runner("indexing", "relay,indexer");
        runner.start();
        runner
    }

    /// The settings of a process that works on workspaces here.
    pub fn configure(&self) {
        let text = |text: &str| Value::String(text.to_owned()).to_string();
        let range = format!("{}-{}", self.addresses.first, self.addresses.last);
        let configuration = format!(
            "\n[workspaces]\nowner = {}\nknown = {}\ncreate = \"select public.workspace_creating($1)\"\n\
             ready = \"select public.workspace_ready($1)\"\nfailed = \"select public.workspace_failed($1)\"\n\
             delete = \"select public.workspace_deleting($1)\"\ndeleted = \"select public.workspace_deleted($1)\"\n\
             image = {}\ncommand = [\"sleep\", \"100000\"]\nsetup = [\"touch /tmp/set-up\"]\nhost_names = {}\n\
             domain = \"example\"\nlease = \"1s\"\ntime_allowed = \"180s\"\n\
             [workspaces.cleanup]\ninterval = \"1s\"\ngrace = \"0s\"\n\
             [workspaces.hosts.one]\nengine = {}\nnetwork = {}\naddresses = {}\n",
            text(&self.owner),
            text(KNOWN),
            text(engine::IMAGE),
            text(&self.host_names.path().display().to_string()),
            text(&self.engine),
            text(&self.network),
            text(&range),
        );
        self.deployment.configure(&configuration);
    }

    /// The workspaces that have anything anywhere, each once.
    pub async fn occupied(&self) -> Vec<String> {
        let mut all = engine::workspaces(&self.engine, &self.owner).await;
        all.extend(self.placements().list().await.unwrap().into_iter().map(|placement| placement.workspace));
        let files = fs::read_dir(self.host_names.path()).unwrap().map(|file| file.unwrap().file_name());
        all.extend(files.filter_map(|name| Some(name.to_str()?.strip_prefix("workspace-")?.to_owned())));
        all.retain(|workspace| workspace != SOMEBODY);
        all.sort();
        all.dedup();
        all
    }
}

/// Others use the engine, too.
impl Drop for Workplace {
    fn drop(&mut self) {
        let (engine, owner) = (self.engine.clone(), self.owner.clone());
        let clearing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // One of the test's own may be gone by now.
            if std::path::Path::new(engine.trim_start_matches("unix://")).exists() {
                runtime.block_on(engine::clear(&engine, &owner));
            }
        });
        clearing.join().ok();
    }
}
