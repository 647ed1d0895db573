//! The schema is brought up to date by whoever comes first.

use sync_core::ErrorKind;
use sync_core::adapter::postgres::{migrate, pending, rehearse};

use super::{number, word};
use crate::support::postgres::{connect, fresh_database, fresh_outbox};

#[tokio::test]
async fn six_migrations_at_once_apply_each_step_once_and_none_fails() {
    let (client, url) = fresh_database().await;
    let steps = pending(&client).await.unwrap();
    assert_eq!(rehearse(&client).await.unwrap(), steps);
    assert!(steps.len() >= 5 && steps[0] == "V1__tables", "{steps:?}");
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut client = connect(&url).await;
        runs.spawn(async move { migrate(&mut client).await });
    }
    let mut applied = Vec::new();
    while let Some(run) = runs.join_next().await {
        applied.extend(run.unwrap().unwrap());
    }
    assert_eq!(applied, steps);
    assert_eq!(pending(&client).await.unwrap(), [] as [&str; 0]);
    assert_eq!(rehearse(&client).await.unwrap(), [] as [&str; 0]);
    assert_eq!(
        number(
            &client,
            "select count(*) from pg_locks where locktype = 'advisory' and database =
        (select oid from pg_database where datname = current_database())"
        )
        .await,
        0
    );
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let (mut client, _) = fresh_outbox().await;
    assert_eq!(migrate(&mut client).await.unwrap(), [] as [&str; 0]);
    client
        .batch_execute(
            "insert into outbox.migrations select 9999, 'future', applied_on, checksum from outbox.migrations limit 1",
        )
        .await
        .unwrap();
    for error in [rehearse(&client).await.unwrap_err(), migrate(&mut client).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("newer") && error.to_string().contains("future"), "{error}");
    }
    assert_eq!(pending(&client).await.unwrap(), [] as [&str; 0], "all that this program has is there");
}

#[tokio::test]
async fn a_rehearsal_refuses_what_a_migration_would_refuse() {
    let (mut client, _) = fresh_outbox().await;
    for change in [
        "update outbox.migrations set checksum = '1' where version = 3",
        "delete from outbox.migrations where version = 2",
    ] {
        client.batch_execute(&format!("create table kept as table outbox.migrations; {change}")).await.unwrap();
        for error in [rehearse(&client).await.unwrap_err(), migrate(&mut client).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{change}: {error}");
            assert!(error.to_string().contains("another version of this program"), "{change}: {error}");
        }
        let back = "truncate outbox.migrations; insert into outbox.migrations table kept; drop table kept";
        client.batch_execute(back).await.unwrap();
    }
    client
        .batch_execute("delete from outbox.migrations where version = (select max(version) from outbox.migrations)")
        .await
        .unwrap();
    assert_eq!(rehearse(&client).await.unwrap(), pending(&client).await.unwrap());
}

#[tokio::test]
async fn a_migration_that_cannot_be_applied_says_why_and_leaves_nothing_half_done() {
    let (mut client, _) = fresh_database().await;
    client.batch_execute("create schema outbox; create table outbox.watches ()").await.unwrap();
    let error = migrate(&mut client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("V1__tables") && error.to_string().contains("watches"), "{error}");
    assert_eq!(word(&client, "to_regclass('outbox.events') is null").await, "true");
    client.batch_execute("drop table outbox.watches").await.unwrap();
    migrate(&mut client).await.unwrap();
}
