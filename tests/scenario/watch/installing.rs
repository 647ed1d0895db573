//! Installing, replacing and removing triggers.

use super::partitions::PARTITIONED;
use super::{JOBS, NOTHING, Watched};

/// Triggers and functions, to see that nothing is left behind.
const INSTALLED: &str = "select (select count(*) from pg_trigger where tgname like 'outbox%')
                              + (select count(*) from pg_proc where pronamespace = 'outbox'::regnamespace)
                              + (select count(*) from outbox.watches)";

#[tokio::test]
async fn unwatch_removes_exactly_what_watch_installed() {
    let mut db = Watched::new(&format!("{PARTITIONED}; {JOBS}; select outbox.unwatch('p')")).await;
    let installed = async |db: &Watched| db.client.query_one(INSTALLED, &[]).await.unwrap().get::<_, i64>(0);
    let before = installed(&db).await;
    db.run(
        "create function mine() returns trigger language plpgsql as 'begin return null; end';
         create trigger outbox_mine after insert on jobs for each row execute function mine();
         select outbox.watch('p', 'a'), outbox.watch('p', 'b'), outbox.watch('jobs', 'a')",
    )
    .await;
    let once = installed(&db).await;
    db.run("select outbox.watch('p', 'a', columns => array['title'])").await;
    assert_eq!(installed(&db).await, once, "watching again replaces");
    assert_eq!(db.after("insert into p values (1, 'x', 1)").await, ["a 1 INDEX", "b 1 INDEX"]);
    assert_eq!(db.after("update p set synced = 2").await, ["b 1 INDEX"], "as it was asked last");
    let count = async |db: &Watched, sql: &str| db.client.query_one(sql, &[]).await.unwrap().get::<_, i32>(0);
    assert_eq!(count(&db, "select outbox.unwatch('p', 'b')").await, 1);
    assert_eq!(db.after("insert into p values (2)").await, ["a 2 INDEX"]);
    assert_eq!(count(&db, "select outbox.unwatch('p', 'b')").await, 0);
    assert_eq!(count(&db, "select outbox.unwatch('p')").await, 1);
    assert_eq!(db.after("insert into p values (3); truncate p").await, NOTHING);
    assert_eq!(db.after("insert into jobs values (3)").await, ["a 3 INDEX"]);
    db.run("drop table jobs; select outbox.unwatch(relation) from outbox.watches").await;
    assert_eq!(installed(&db).await, before);
}

#[tokio::test]
async fn triggers_rest_under_replication_unless_asked_to_fire_always() {
    let setup = "select outbox.watch('p', 'always', always => true), outbox.watch('p', 'origin')";
    let mut db = Watched::new(&format!("{PARTITIONED}; select outbox.unwatch('p'); {setup}")).await;
    db.run("set session_replication_role = replica").await;
    let sql = "insert into p values (1, 'a'); update p set title = 'b'; delete from p;
               insert into p values (101); truncate p";
    let expected = ["1 INDEX", "1 INDEX", "1 DELETE", "101 INDEX", "101 DELETE"].map(|event| format!("always {event}"));
    assert_eq!(db.after(sql).await, expected);
}
