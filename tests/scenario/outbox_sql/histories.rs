//! Promotions and restores are noticed.

use tokio_postgres::Client;

use super::{number, word};
use crate::support::postgres::{connect, fresh_outbox};

async fn note(client: &Client) -> (i32, String, String) {
    let row = client.query_one("select epoch, token::text, verdict from outbox.note_history()", &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_history_is_noted_once_and_a_promotion_begins_the_next() {
    let (client, url) = fresh_outbox().await;
    let mut starters = Vec::new();
    for _ in 0..4 {
        starters.push(connect(&url).await);
    }
    let noted = futures::future::join_all(starters.iter().map(note)).await;
    assert_eq!(noted.iter().filter(|(.., verdict)| verdict == "first").count(), 1, "{noted:?}");
    let (_, token, _) = &noted[0];
    assert!(noted.iter().all(|(epoch, t, _)| *epoch == 0 && t == token), "{noted:?}");
    assert_eq!(note(&client).await, (0, token.clone(), "same".to_owned()));

    client.batch_execute("update outbox.history set timeline = timeline - 1").await.unwrap();
    let noted = futures::future::join_all(starters.iter().map(note)).await;
    assert_eq!(noted.iter().filter(|(.., verdict)| verdict == "promoted").count(), 1, "{noted:?}");
    assert!(noted.iter().all(|(epoch, t, _)| *epoch == 1 && t != token), "{noted:?}");
    assert_eq!(note(&client).await.2, "same");
    assert_eq!(number(&client, "select count(*) from outbox.history").await, 2);
}

#[tokio::test]
async fn another_clusters_history_is_foreign_until_a_person_adopts_it() {
    let (client, _) = fresh_outbox().await;
    client
        .batch_execute(
            "select outbox.emit('jobs', 'a'); select outbox.emit('jobs', 'b');
             insert into outbox.subscriptions (name, lo, hi, last, lease_holder, lease_term, lease_until)
             values ('s', '999:999:', '1000:1000:', 7, 'me', 3, now() + interval '1 hour')",
        )
        .await
        .unwrap();
    let (_, token, _) = note(&client).await;
    for other in ["system_identifier = system_identifier + 1", "database_oid = 1", "events_oid = 1"] {
        client.batch_execute(&format!("begin; update outbox.history set {other}")).await.unwrap();
        assert_eq!(note(&client).await, (0, token.clone(), "foreign".to_owned()), "{other}");
        assert_eq!(number(&client, "select count(*) from outbox.history").await, 1, "nothing was changed");
        client.batch_execute("rollback").await.unwrap();
    }
    client
        .batch_execute("update outbox.history set events_oid = 1, timeline = 99; update outbox.events set xid = '1'")
        .await
        .unwrap();
    assert_eq!(note(&client).await.2, "foreign", "whatever the timeline");
    let row = client.query_one("select epoch, events from outbox.adopt_history()", &[]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i64>(1)), (1, 2));
    let (epoch, fresh, verdict) = note(&client).await;
    assert_eq!((epoch, verdict.as_str()), (1, "same"));
    assert_ne!(fresh, token);
    let subscription =
        "select (lo, hi, last, lease_holder, lease_term, lease_until, history)::text from outbox.subscriptions";
    assert_eq!(word(&client, subscription).await, format!("(1:1:,,0,,4,,{fresh})"));
    let stamped =
        "select count(*) from outbox.events where xid <> '1' and pg_visible_in_snapshot(xid, pg_current_snapshot())";
    assert_eq!(number(&client, stamped).await, 2);
}
