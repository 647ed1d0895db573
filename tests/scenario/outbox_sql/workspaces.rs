//! An id is for one workspace, once.

use super::{number, refused};
use crate::support::postgres::fresh_outbox;

const CREATE: &str = "outbox.create_workspace('blue')";

#[tokio::test]
async fn a_workspace_is_created_once_and_its_creation_may_be_repeated_while_it_is_there() {
    let (client, _) = fresh_outbox().await;
    let saga = number(&client, CREATE).await;
    assert_eq!(number(&client, CREATE).await, saga, "while it is created");
    client.batch_execute("update outbox.sagas set outcome = 'done', ended_at = now()").await.unwrap();
    assert_eq!(number(&client, CREATE).await, saga, "and when it is there");
    let (code, ..) = refused(&client, "select outbox.create_workspace('blue', '{\"image\": \"other\"}')").await;
    assert_eq!(code, "23505", "but not otherwise");
}

#[tokio::test]
async fn the_id_of_a_workspace_that_failed_was_deleted_or_is_placed_is_refused_and_what_to_do_is_said() {
    let (client, _) = fresh_outbox().await;
    for (before, told) in [
        (
            "select outbox.create_workspace('blue'); update outbox.sagas set outcome = 'compensated', ended_at = now()",
            "its creation has failed",
        ),
        ("select outbox.delete_workspace('blue')", "was deleted, or is to be"),
        ("insert into outbox.placements (workspace, host) values ('blue', 'one')", "its workspace is placed"),
    ] {
        client.batch_execute(&format!("truncate outbox.sagas, outbox.placements cascade; {before}")).await.unwrap();
        let (code, message, hint) = refused(&client, &format!("select {CREATE}")).await;
        assert!(code == "23505" && message.contains(told), "{code} {message}");
        assert!(hint.contains("take a new one"), "{hint}");
    }
    client.batch_execute("truncate outbox.sagas, outbox.placements cascade").await.unwrap();
    number(&client, CREATE).await;
}
