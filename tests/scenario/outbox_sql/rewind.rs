//! Going back to a time.

use super::{refused, word};
use crate::support::postgres::{connect, fresh_outbox};

const KEYS: &str = "
select coalesce(string_agg(e.key, ' ' order by e.id), '') from outbox.events e, outbox.subscriptions s
 where s.name = 'search' and not pg_visible_in_snapshot(e.xid, s.lo::pg_snapshot)";

#[tokio::test]
async fn a_replay_begins_with_what_was_committed_later_however_early_it_was_written() {
    let (client, url) = fresh_outbox().await;
    let (open, rolled_back) = (connect(&url).await, connect(&url).await);
    client.batch_execute("select outbox.emit('jobs', 'before')").await.unwrap();
    open.batch_execute("begin; select outbox.emit('jobs', 'open')").await.unwrap();
    rolled_back.batch_execute("begin; select outbox.emit('jobs', 'rolled_back')").await.unwrap();
    client.batch_execute("select outbox.note_snapshot()").await.unwrap();
    let since = word(&client, "select clock_timestamp()::text").await;
    client.batch_execute("select outbox.emit('jobs', 'after')").await.unwrap();
    open.batch_execute("commit").await.unwrap();
    rolled_back.batch_execute("rollback").await.unwrap();
    client
        .batch_execute("insert into outbox.subscriptions (name, lo, ledger_from) values ('search', pg_current_snapshot()::text, 7)")
        .await
        .unwrap();
    assert_eq!(word(&client, KEYS).await, "");

    let went =
        format!("select coalesce((went_to <= '{since}')::text, 'nowhere') from outbox.rewind('search', '{since}')");
    assert_eq!(word(&client, &went).await, "true");
    assert_eq!(word(&client, KEYS).await, "open after");
    let position = "select concat_ws(' ', hi, last, ledger_from, lease_term) from outbox.subscriptions";
    assert_eq!(word(&client, position).await, "0 1", "inside no window, of no ledger, in another term");

    let beginning = "select went_to::text from outbox.rewind('search', now() - interval '1 day')";
    assert_eq!(word(&client, beginning).await, "-infinity");
    assert_eq!(word(&client, KEYS).await, "before open after");
    assert_eq!(word(&client, &went).await, "nowhere", "it never goes ahead");
    assert_eq!(word(&client, KEYS).await, "before open after");
    assert_eq!(refused(&client, "select outbox.rewind('nobody', now())").await.0, "42704");
}

#[tokio::test]
async fn one_snapshot_a_minute_is_kept() {
    let (client, _) = fresh_outbox().await;
    let count = "select count(*)::text from outbox.snapshots";
    client.batch_execute("select outbox.note_snapshot(); select outbox.note_snapshot()").await.unwrap();
    assert_eq!(word(&client, count).await, "1");
    client
        .batch_execute(
            "update outbox.snapshots set taken_at = taken_at - interval '61 seconds'; select outbox.note_snapshot()",
        )
        .await
        .unwrap();
    assert_eq!(word(&client, count).await, "2");
}

#[tokio::test]
async fn snapshots_of_another_cluster_are_forgotten_when_its_dump_is_adopted_and_only_then() {
    let (client, _) = fresh_outbox().await;
    let count = "select count(*)::text from outbox.snapshots";
    client.batch_execute("select outbox.note_history(); select outbox.note_snapshot()").await.unwrap();
    client.batch_execute("select outbox.raise_epoch(5)").await.unwrap();
    assert_eq!(word(&client, count).await, "1", "another epoch of the same database");
    client.batch_execute("update outbox.history set system_identifier = system_identifier - 1").await.unwrap();
    client.batch_execute("select outbox.adopt_history()").await.unwrap();
    assert_eq!(word(&client, count).await, "0");
}
