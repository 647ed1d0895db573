//! Source, projection, dead letters, runs, re-indexes and sagas on a real PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::postgres::{
    EndingStatement, EndingStatements, PostgresDeadLetters, PostgresLeases, PostgresPlacements, PostgresProjection,
    PostgresReindexes, PostgresRuns, PostgresSagas, PostgresSource, PostgresWorkspaces, ProjectionConfig,
    ReindexesConfig, RunsConfig, SagasConfig, SourceConfig, SyncedAt, WorkspaceStatements,
};
use sync_core::port::{
    DeadLetters, LedgerSource, Projection, Reindexes, Runs, SagaClaim, SagaEnding, SagaLog, SagaOutcome, Sagas, Source,
    Versions, WorkspaceState, Workspaces,
};
use sync_core::testkit::conformance::{
    self, Followed, OpenTransaction, Outbox, Rows, SagaHarness, Transaction, WorkspacesHarness,
};
use sync_core::{Action, Remedy};
use tokio_postgres::Client;

use crate::support::postgres::{connect, database, fresh_outbox};

#[derive(Debug)]
struct RealOutbox {
    url: String,
}

#[async_trait]
impl Outbox for RealOutbox {
    fn source(&self, holder: &str, lease: Duration, batch_events: usize) -> Box<dyn Source> {
        let holder = holder.to_owned();
        let config = SourceConfig::default().holder(holder).lease(lease).batch_events(batch_events);
        Box::new(PostgresSource::new(database(&self.url), config))
    }

    fn ledger_source(&self, holder: &str, lease: Duration, batch_events: usize) -> Box<dyn LedgerSource> {
        let holder = holder.to_owned();
        let config = SourceConfig::default().holder(holder).lease(lease).batch_events(batch_events);
        Box::new(PostgresSource::new(database(&self.url), config))
    }

    async fn begin(&self) -> Box<dyn Transaction> {
        let client = connect(&self.url).await;
        client.batch_execute("begin").await.unwrap();
        Box::new(RealTransaction(client))
    }
}

struct RealTransaction(Client);

#[async_trait]
impl Transaction for RealTransaction {
    async fn emit(&mut self, key: &str, action: Action) {
        self.0.execute("select outbox.emit('jobs', $1, $2)", &[&key, &action.as_str()]).await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.0.batch_execute("commit").await.unwrap();
    }

    async fn rollback(self: Box<Self>) {
        self.0.batch_execute("rollback").await.unwrap();
    }
}

#[tokio::test]
async fn the_outbox_in_postgresql_keeps_the_promises_of_a_source() {
    conformance::source(async || {
        let (_, url) = fresh_outbox().await;
        Box::new(RealOutbox { url }) as Box<dyn Outbox>
    })
    .await;
}

#[tokio::test]
async fn the_outbox_in_postgresql_keeps_the_promises_of_a_source_with_a_ledger() {
    conformance::ledger_source(async || {
        let (_, url) = fresh_outbox().await;
        Box::new(RealOutbox { url }) as Box<dyn Outbox>
    })
    .await;
}

#[derive(Debug)]
struct RealRows {
    client: Client,
    holder: Client,
    projection: PostgresProjection,
}

impl RealRows {
    async fn new() -> Self {
        let (client, url) = fresh_outbox().await;
        client
            .batch_execute(
                "create table \"Odd \"\"Rows\" (id text primary key, title text, \"Synced At\" timestamptz);
                 select outbox.watch('\"Odd \"\"Rows\"', 'jobs', ignore => array['Synced At'])",
            )
            .await
            .unwrap();
        let projection = PostgresProjection::new(
            database(&url),
            ProjectionConfig::new(
                "jobs",
                "jobs",
                "select id as key, json_build_object('title', title) as document from \"Odd \"\"Rows\";",
            )
            .synced_at(SyncedAt::new("\"Odd \"\"Rows\"", "id", "Synced At")),
        );
        Self { client, holder: connect(&url).await, projection }
    }
}

#[async_trait]
impl Rows for RealRows {
    fn projection(&self) -> &dyn Versions {
        &self.projection
    }

    async fn put(&self, key: &str, title: &str) {
        let sql = "insert into \"Odd \"\"Rows\" values ($1, $2) on conflict (id) do update set title = excluded.title";
        self.client.execute(sql, &[&key, &title]).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        self.client.execute("delete from \"Odd \"\"Rows\" where id = $1", &[&key]).await.unwrap();
    }

    async fn hold(&self, key: &str) {
        self.holder.batch_execute("begin").await.unwrap();
        let sql = "select from \"Odd \"\"Rows\" where id = $1 for update";
        self.holder.execute(sql, &[&key]).await.unwrap();
    }

    async fn release(&self) {
        self.holder.batch_execute("rollback").await.unwrap();
    }

    async fn promote(&self) {
        self.client.batch_execute("update outbox.history set timeline = timeline - 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_projection_in_sql_keeps_the_promises_of_a_projection() {
    conformance::projection(async || Box::new(RealRows::new().await) as Box<dyn Rows>).await;
}

#[tokio::test]
async fn versions_in_the_outbox_keep_the_promises_of_versions() {
    conformance::versions(async || Box::new(RealRows::new().await) as Box<dyn Rows>).await;
}

#[tokio::test]
async fn marking_as_synced_is_never_a_change() {
    let rows = RealRows::new().await;
    rows.put("a", "one").await;
    let events = "select count(*) from outbox.events";
    let before: i64 = rows.client.query_one(events, &[]).await.unwrap().get(0);
    assert_eq!(rows.projection.mark_synced(&["a".to_owned()]).await.unwrap(), [""; 0]);
    let marked = "select \"Synced At\" is not null from \"Odd \"\"Rows\" where id = 'a'";
    assert!(rows.client.query_one(marked, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(rows.client.query_one(events, &[]).await.unwrap().get::<_, i64>(0), before);
}

#[tokio::test]
async fn the_table_of_dead_letters_keeps_the_promises_of_dead_letters() {
    conformance::dead_letters(async || {
        let (_, url) = fresh_outbox().await;
        Arc::new(PostgresDeadLetters::new(database(&url))) as Arc<dyn DeadLetters>
    })
    .await;
    conformance::unannounced(async || {
        let (_, url) = fresh_outbox().await;
        Arc::new(PostgresDeadLetters::new(database(&url)))
    })
    .await;
}

#[tokio::test]
async fn the_table_of_runs_keeps_the_promises_of_runs() {
    conformance::runs(async |lease| {
        let (_, url) = fresh_outbox().await;
        ["one", "other"].map(|holder| {
            let config = RunsConfig::new(holder).lease(lease);
            Arc::new(PostgresRuns::new(database(&url), config)) as Arc<dyn Runs>
        })
    })
    .await;
}

struct RealReindexes {
    client: Client,
    url: String,
    lease: Duration,
}

#[async_trait]
impl Followed for RealReindexes {
    fn holders(&self) -> [Arc<dyn Reindexes>; 2] {
        ["one", "other"].map(|holder| {
            let config = ReindexesConfig::new(holder).lease(self.lease);
            Arc::new(PostgresReindexes::new(database(&self.url), config)) as Arc<dyn Reindexes>
        })
    }

    async fn commit(&self, topic: &str) {
        self.client.execute("select outbox.emit($1, 'key')", &[&topic]).await.unwrap();
    }

    async fn pass(&self, subscription: &str) -> bool {
        let sql = "update outbox.subscriptions set lo = pg_current_snapshot()::text where name = $1";
        self.client.execute(sql, &[&subscription]).await.unwrap() == 1
    }
}

#[tokio::test]
async fn the_table_of_reindexes_keeps_the_promises_of_reindexes() {
    conformance::reindexes(async |lease| {
        let (client, url) = fresh_outbox().await;
        RealReindexes { client, url, lease }
    })
    .await;
}

struct RealSagas {
    client: Client,
    url: String,
    lease: Duration,
}

impl std::fmt::Debug for RealSagas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealSagas").finish_non_exhaustive()
    }
}

/// What the application does when a saga ends: it takes a note, or refuses.
const ENDINGS: &str = "
create table endings (n int generated always as identity, told text not null, outcome text not null);
create table refusal ();
create function note(told jsonb, outcome text) returns void language plpgsql as $$
begin
    if exists (select from refusal) then
        raise 'refused';
    end if;
    insert into endings (told, outcome)
    values (concat_ws(' ', told->>'subject', outcome, coalesce(told->>'error', 'none')), outcome);
end
$$";

impl RealSagas {
    fn store(&self, holder: &str) -> Arc<PostgresSagas> {
        let statement = |outcome| EndingStatement::new(outcome, format!("select note($1, '{outcome}')"));
        let endings = EndingStatements::default().done(statement("done")).compensated(statement("compensated"));
        let endings = [("trip".to_owned(), endings)].into();
        let config = SagasConfig::default().holder(holder).lease(self.lease).endings(endings);
        Arc::new(PostgresSagas::new(database(&self.url), config))
    }
}

#[async_trait]
impl SagaHarness for RealSagas {
    fn people(&self) -> Arc<dyn Sagas> {
        self.store("people")
    }

    fn workers(&self) -> [Arc<dyn SagaLog>; 2] {
        [self.store("one"), self.store("other")]
    }

    async fn refuse_endings(&self, refuse: bool) {
        let sql = if refuse { "insert into refusal default values" } else { "delete from refusal" };
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn endings(&self) -> Vec<String> {
        let rows = self.client.query("select told from endings order by n", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

#[tokio::test]
async fn sagas_in_postgresql_keep_every_promise_of_sagas() {
    conformance::sagas(async |lease| {
        let (client, url) = fresh_outbox().await;
        client.batch_execute(ENDINGS).await.unwrap();
        RealSagas { client, url, lease }
    })
    .await;
}

#[tokio::test]
async fn leases_in_postgresql_keep_every_promise_of_leases() {
    let (_, url) = fresh_outbox().await;
    let [one, other] = ["one", "other"].map(|holder| PostgresLeases::new(database(&url), holder.to_owned()));
    conformance::leases(&one, &other).await;
}

#[tokio::test]
async fn placements_in_postgresql_keep_every_promise_of_placements() {
    let (_, url) = fresh_outbox().await;
    conformance::placements(&PostgresPlacements::new(database(&url))).await;
}

struct RealWorkspaces {
    client: Client,
    url: String,
}

impl std::fmt::Debug for RealWorkspaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealWorkspaces").finish_non_exhaustive()
    }
}

struct OpenInsert(Client);

#[async_trait]
impl OpenTransaction for OpenInsert {
    async fn commit(self: Box<Self>) {
        self.0.batch_execute("commit").await.unwrap();
    }
}

#[async_trait]
impl WorkspacesHarness for RealWorkspaces {
    fn workspaces(&self) -> Arc<dyn Workspaces> {
        let known = "select id, status = 'GONE' as is_gone from spaces -- all of them".to_owned();
        let statements = WorkspaceStatements::new(known);
        Arc::new(PostgresWorkspaces::new(database(&self.url), statements))
    }

    async fn write(&self, workspace: &str, state: WorkspaceState) {
        let status = if state == WorkspaceState::Gone { "GONE" } else { "HERE" };
        self.client.execute("insert into spaces values ($1, $2)", &[&workspace, &status]).await.unwrap();
    }

    async fn begin(&self, workspace: &str) -> Box<dyn OpenTransaction> {
        let client = connect(&self.url).await;
        client.batch_execute("begin").await.unwrap();
        client.execute("insert into spaces values ($1, 'HERE')", &[&workspace]).await.unwrap();
        Box::new(OpenInsert(client))
    }
}

#[tokio::test]
async fn workspaces_in_postgresql_keep_every_promise_of_workspaces() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("create table spaces (id text primary key, status text)").await.unwrap();
    conformance::workspaces(&RealWorkspaces { client, url }).await;
}

#[tokio::test]
async fn a_workspace_whose_creation_was_taken_back_or_that_was_deleted_is_gone_whatever_the_application_says() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("create table spaces (id text primary key, status text)").await.unwrap();
    let store = RealWorkspaces { client, url };
    let ids = ["failed", "deleted", "there"].map(str::to_owned);
    for id in &ids {
        store.write(id, WorkspaceState::Live).await;
        store.client.execute("select outbox.create_workspace($1)", &[id]).await.unwrap();
    }
    store.client.batch_execute("select outbox.delete_workspace('deleted')").await.unwrap();
    let look = async || store.workspaces().look(&ids).await.unwrap().states;
    let [live, gone] = [WorkspaceState::Live, WorkspaceState::Gone];
    assert_eq!(look().await, [live; 3], "while somebody works on them");
    store.workspaces().check("there").await.unwrap();
    let deleted = store.workspaces().check("deleted").await.unwrap_err().to_string();
    assert!(deleted.contains("deleted before its creation"), "{deleted}");
    let end = "update outbox.sagas set ended_at = now(), outcome = case subject when 'failed' then 'compensated' else 'done' end";
    store.client.batch_execute(end).await.unwrap();
    assert_eq!(look().await, [gone, gone, live]);
}

#[tokio::test]
async fn what_keeps_us_from_ending_a_saga_is_never_taken_for_a_refusal_of_the_application() {
    let (_, url) = fresh_outbox().await;
    let (scheme, rest) = url.split_once("://").unwrap();
    let behind = rest.split_once('@').map_or(rest, |(_, behind)| behind);
    let nobody = PostgresSagas::new(database(&format!("{scheme}://nobody:wrong@{behind}")), SagasConfig::default());
    let ending =
        SagaEnding { outcome: SagaOutcome::Done, error: None, outputs: BTreeMap::new(), left: BTreeMap::new() };
    let error = nobody.end(SagaClaim { id: 1, term: 1 }, &ending).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
}
