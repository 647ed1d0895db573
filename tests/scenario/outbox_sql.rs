//! The outbox as SQL sees it, on a real PostgreSQL.

mod emitting;
mod histories;
mod leaves;
mod migrations;
mod permissions;
mod rewind;
mod routing;
mod waking;
mod workspaces;

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Error};

const BOUND: Duration = Duration::from_secs(30);

/// Everything in the outbox: topic, key and action, by id.
async fn events(client: &Client) -> Vec<(String, String, String)> {
    let rows = client.query("select topic, key, action from outbox.events order by id", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(&format!("select ({sql})::bigint"), &[]).await.unwrap().get(0)
}

pub(super) async fn word(client: &Client, sql: &str) -> String {
    client.query_one(&format!("select ({sql})::text"), &[]).await.unwrap().get(0)
}

/// SQLSTATE, message and hint.
fn said(error: &Error) -> (String, String, String) {
    let error = error.as_db_error().expect("the server's own words");
    (error.code().code().to_owned(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

async fn refused(client: &Client, sql: &str) -> (String, String, String) {
    said(&client.batch_execute(sql).await.expect_err(sql))
}

/// Waits until a session of this database waits for a lock, looking through another connection.
async fn until_someone_waits(client: &Client) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let looking = async { while number(client, waiting).await == 0 {} };
    timeout(BOUND, looking).await.expect("somebody waits for a lock");
}
