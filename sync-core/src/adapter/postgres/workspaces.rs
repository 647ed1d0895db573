//! Workspaces in the application's tables: whether they are there, and that one is wanted or not.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connect::{Postgres, Timed};
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{Sighting, WorkspaceState, Workspaces};

/// The application's statements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkspaceStatements {
    /// Gives all workspaces there are: `id`, and `is_gone`, which says that one has failed or was deleted.
    pub known: String,
    /// Writes one that is about to be created; none unless said. Its one parameter is a `jsonb` object: `workspace`,
    /// `params`, `details`.
    pub create: Option<String>,
    /// Notes that one is about to be deleted; none unless said. The same parameter, with `workspace`.
    pub delete: Option<String>,
}

impl WorkspaceStatements {
    /// With what gives all workspaces; none are created or deleted by this program.
    #[must_use]
    pub fn new(known: impl Into<String>) -> Self {
        Self { known: known.into(), create: None, delete: None }
    }
}

setters! {
    WorkspaceStatements {
        create: some String,
        delete: some String,
    }
}

/// Workspaces in the application's tables.
#[derive(Debug)]
pub struct PostgresWorkspaces {
    database: Postgres,
    look: String,
    check: String,
    statements: WorkspaceStatements,
}

impl PostgresWorkspaces {
    /// Connects when it is used.
    #[must_use]
    pub fn new(database: Postgres, statements: WorkspaceStatements) -> Self {
        let sql = statements.known.trim().trim_end_matches(';');
        // The statement has lines of its own, so that it may end with a comment. The end of a snapshot is no bound: a
        // transaction that writes may be behind it. One's own number is: whoever has written before has a lower one.
        let known = format!("with known as (\n{sql}\n)");
        let look = format!(
            "{known}
             select pg_snapshot_xmin(now.snapshot)::text::bigint, pg_current_xact_id()::text::bigint,
                    array(select case when exists (select from outbox.sagas saga
                                                    where saga.subject = wanted.id and saga.ended_at is null
                                                      and saga.kind in ('workspace-create', 'workspace-delete')) then 'live'
                                      when exists (select from outbox.sagas saga
                                                    where saga.subject = wanted.id
                                                      and (saga.kind = 'workspace-delete'
                                                           or saga.kind = 'workspace-create'
                                                              and saga.outcome = 'compensated')) then 'gone'
                                      when known.id is null then 'missing'
                                      when known.is_gone then 'gone' else 'live' end
                            from unnest($1::text[]) with ordinality as wanted (id, place)
                            left join known on known.id::text = wanted.id
                           order by wanted.place)
               from (select pg_current_snapshot() as snapshot) as now"
        );
        let check = format!(
            "{known}
             select exists (select from known where known.id::text = $1),
                    exists (select from outbox.sagas saga where saga.subject = $1 and saga.kind = 'workspace-delete')"
        );
        Self { database, look, check, statements }
    }

    /// Writes a workspace and has it created, in one transaction; says the saga's number. `params` say what it is like,
    /// `details` are the application's own. Repeated with the same params it says the same number, and runs the statement
    /// once. Dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Contract` when the application refuses it, when it was begun with other params, or when its id is used up;
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn create(
        &self,
        workspace: &str,
        params: &Value,
        details: &Value,
        time_allowed: Duration,
    ) -> Result<i64, Error> {
        let told = json!({ "workspace": workspace, "params": params, "details": details });
        let statement = self.statements.create.as_deref().map(|sql| ("workspaces.create", sql));
        self.begin(("workspace-create", workspace), statement, &told, async |client| {
            let sql = "select outbox.create_workspace($1, $2, make_interval(secs => $3))";
            let begun = client.query_one(sql, &[&workspace, params, &time_allowed.as_secs_f64()]).await;
            begun.map_err(|error| from_postgres("creating a workspace", error))
        })
        .await
    }

    /// Notes that a workspace is wanted no more and has it deleted, in one transaction; says the saga's number. Dropped
    /// half-way, it may have happened.
    ///
    /// # Errors
    /// `Contract` when the application refuses it; `Unavailable`, `Denied`, `Configuration`.
    pub async fn delete(&self, workspace: &str) -> Result<i64, Error> {
        let told = json!({ "workspace": workspace });
        let statement = self.statements.delete.as_deref().map(|sql| ("workspaces.delete", sql));
        self.begin(("workspace-delete", workspace), statement, &told, async |client| {
            let begun = client.query_one("select outbox.delete_workspace($1)", &[&workspace]).await;
            begun.map_err(|error| from_postgres("deleting a workspace", error))
        })
        .await
    }

    /// Runs the application's statement, unless the saga was begun before, and begins it.
    async fn begin(
        &self,
        (kind, workspace): (&str, &str),
        statement: Option<(&str, &str)>,
        told: &Value,
        saga: impl AsyncFnOnce(&Timed) -> Result<Row, Error>,
    ) -> Result<i64, Error> {
        let doing = "beginning what was asked of a workspace";
        let failed = |error| from_postgres(doing, error);
        let client = self.database.timed().await?;
        client.begin().await.map_err(failed)?;
        let begun = async {
            if let Some((setting, sql)) = statement {
                // Whoever asks for the same at the same time waits, and then sees that it was begun.
                client.execute(ALONE, &[&kind, &workspace]).await.map_err(failed)?;
                let earlier = client.query_one(WAS_BEGUN, &[&kind, &workspace]).await.map_err(failed)?;
                if !earlier.try_get(0).map_err(|error| from_postgres(doing, error))? {
                    let refused = |error| from_postgres(setting, error);
                    client.query_typed(sql, &[(told, Type::JSONB)]).await.map_err(refused)?;
                }
            }
            let row = saga(&client).await?;
            client.commit().await.map_err(failed)?;
            row.try_get(0).map_err(|error| from_postgres(doing, error))
        };
        let begun = begun.await;
        if begun.is_err() {
            client.rollback().await;
        }
        begun
    }
}

const ALONE: &str = "select pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))";

const WAS_BEGUN: &str = "select exists (select from outbox.sagas where kind = $1 and subject = $2)";

#[async_trait]
impl Workspaces for PostgresWorkspaces {
    async fn look(&self, workspaces: &[String]) -> Result<Sighting, Error> {
        let client = self.database.timed().await?;
        let row = client.query_one(&self.look, &[&workspaces]).await;
        let row = row.map_err(|error| from_postgres("looking at workspaces (workspaces.known)", error))?;
        let unreadable = |error| Error::new(ErrorKind::Internal, "reading a look at workspaces").with_source(error);
        let [over_below, unbegun_from] = [row.try_get::<_, i64>(0), row.try_get::<_, i64>(1)];
        let states: Vec<String> = row.try_get(2).map_err(unreadable)?;
        if states.len() != workspaces.len() {
            let what = "workspaces.known gives one workspace more than once: `id` must be a key";
            return Err(Error::new(ErrorKind::Contract, what));
        }
        let state = |said: &String| match said.as_str() {
            "missing" => WorkspaceState::Missing,
            "gone" => WorkspaceState::Gone,
            _ => WorkspaceState::Live,
        };
        Ok(Sighting {
            states: states.iter().map(state).collect(),
            over_below: over_below.map_err(unreadable)?.unsigned_abs(),
            unbegun_from: unbegun_from.map_err(unreadable)?.unsigned_abs(),
        })
    }

    async fn check(&self, workspace: &str) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let row = client.query_one(&self.check, &[&workspace]).await;
        let row = row.map_err(|error| from_postgres("looking for a workspace (workspaces.known)", error))?;
        let unreadable = |error| Error::new(ErrorKind::Internal, "reading a look at a workspace").with_source(error);
        let [is_known, is_deleted] = [row.try_get(0), row.try_get(1)];
        let why = match (is_known.map_err(unreadable)?, is_deleted.map_err(unreadable)?) {
            (true, false) => return Ok(()),
            (_, true) => format!("workspace {workspace} was deleted before its creation was committed"),
            (false, false) => format!(
                "workspaces.known has no workspace {workspace:?}: its row is not there (the application writes it, or \
                 workspaces.create), or the text of its `id` is another one (a UUID in capitals, say); the cleanup would take it \
                 for missing"
            ),
        };
        Err(Error::new(ErrorKind::Refused, why))
    }
}
