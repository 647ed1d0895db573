//! Whatever is wrong is said, with the setting and the mend, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use sync_core::adapter::postgres::{Postgres, PostgresConfig, PostgresProjection, ProjectionConfig, SyncedAt};
use sync_core::port::Projection;
use sync_core::{Error, ErrorKind};

use crate::support::postgres::{database, fresh_outbox};
use crate::support::servers;

async fn load(sql: &str, synced_at: Option<SyncedAt>) -> Error {
    let (client, url) = fresh_outbox().await;
    client
        .batch_execute("create table t (id int, body jsonb); insert into t values (1, '{}'), (1, '{}'), (2, null)")
        .await
        .unwrap();
    let config = ProjectionConfig::new("jobs", "jobs", sql).synced_at(synced_at);
    let projection = PostgresProjection::new(database(&url), config);
    projection.load(&["1".to_owned()]).await.unwrap_err()
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error} does not say {word:?}");
    }
}

#[tokio::test]
async fn a_projection_that_cannot_work_is_refused_by_name() {
    let setting = "indexes.jobs.projection";
    let error = load("select id as key, body as document from nowhere", None).await;
    assert_says(&error, ErrorKind::Configuration, &[setting, "nowhere"]);
    let error = load("select id, body from t", None).await;
    assert_says(&error, ErrorKind::Configuration, &[setting, "`key`", "`document`", "id, body"]);
    let error = load("not sql", None).await;
    assert_says(&error, ErrorKind::Configuration, &[setting, "syntax error"]);
    let error = load("select id as key, body as document from t", None).await;
    assert_says(&error, ErrorKind::Contract, &[setting, "two rows for key \"1\""]);
    let error = load("select distinct id as key, 1 as version, '{}'::jsonb as document from t", None).await;
    assert_says(&error, ErrorKind::Configuration, &[setting, "column `version`", "outbox.versions"]);
    let error = load("select id / 0 as key, body as document from t", None).await;
    assert_says(&error, ErrorKind::Contract, &[setting, "division by zero"]);
    let error = load("select id as key, 'nonsense' as document from t limit 1", None).await;
    assert_says(&error, ErrorKind::Configuration, &[setting, "`document` is of type text", "json or jsonb"]);
}

#[tokio::test]
async fn a_synced_at_column_that_is_not_there_is_refused_by_name() {
    let synced_at = SyncedAt::new("t", "id", "missing");
    let error = load("select distinct id as key, '{}'::jsonb as document from t", Some(synced_at)).await;
    assert_says(&error, ErrorKind::Configuration, &["indexes.jobs.synced_at", "\"missing\""]);
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_refused_by_setting() {
    let connect = async |url: String| {
        let config = PostgresConfig::new(url).connect_timeout(Duration::from_secs(5));
        Postgres::new(&config).unwrap().client().await.unwrap_err()
    };
    let error = connect("postgres://nobody@127.0.0.1:1/nothing".to_owned()).await;
    assert_says(&error, ErrorKind::Unavailable, &["postgres.url"]);
    let server = servers::postgres();
    let (base, _) = server.rsplit_once('/').unwrap();
    let error = connect(format!("{base}/no-such-database")).await;
    assert_says(&error, ErrorKind::Configuration, &["postgres.url", "no-such-database"]);
    let (scheme, rest) = server.split_once("://").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    let error = connect(format!("{scheme}://sync:wrong@{host}")).await;
    assert_says(&error, ErrorKind::Denied, &["postgres.url"]);
    let error = connect(format!("{server}?sslmode=require")).await;
    assert_says(&error, ErrorKind::Configuration, &["sslmode"]);
}

#[tokio::test]
async fn a_key_that_is_no_key_of_the_table_is_said_to_be_one() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("create table t (id uuid primary key)").await.unwrap();
    let config = ProjectionConfig::new("jobs", "jobs", "select id as key, '{}'::jsonb as document from t");
    let projection: Arc<dyn Projection> = Arc::new(PostgresProjection::new(database(&url), config));
    let error = projection.load(&["not a uuid".to_owned()]).await.unwrap_err();
    assert_says(&error, ErrorKind::Contract, &["indexes.jobs.projection", "not a uuid"]);
}
