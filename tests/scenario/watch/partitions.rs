//! Partitioned tables: rows in any leaf, and leaves that come later.

use super::{NOTHING, Watched};

pub(super) const PARTITIONED: &str = "
    create table p (id int primary key, title text, synced int) partition by range (id);
    create table p1 partition of p for values from (0) to (100);
    create table p2 (synced int, id int not null, dropped int, title text);
    alter table p2 drop dropped;
    alter table p attach partition p2 for values from (100) to (200);
    select outbox.watch('p', 'p', ignore => array['synced']);
    create table p3 partition of p for values from (200) to (300)";

#[tokio::test]
async fn partitions_are_watched_whatever_the_order_of_their_columns() {
    let mut db = Watched::new(PARTITIONED).await;
    assert_eq!(
        db.after("insert into p values (1, 'a', 1), (101, 'a', 1), (201, 'a', 1)").await,
        ["p 1 INDEX", "p 101 INDEX", "p 201 INDEX"]
    );
    assert_eq!(db.after("update p set synced = 2").await, NOTHING);
    assert_eq!(db.after("update p set title = 'b'").await, ["p 1 INDEX", "p 101 INDEX", "p 201 INDEX"]);
    assert_eq!(db.after("delete from p2").await, ["p 101 DELETE"]);
    assert_eq!(db.after("update p set id = 102 where id = 1").await, ["p 1 DELETE", "p 102 INDEX"]);
}

#[tokio::test]
async fn truncate_of_a_leaf_deletes_its_keys_and_of_the_whole_table_all_of_them_once() {
    let mut db = Watched::new(&format!("{PARTITIONED}; insert into p values (1), (101), (201)")).await;
    assert_eq!(db.after("truncate p2").await, ["p 101 DELETE"]);
    db.after("insert into p values (101)").await;
    let mut written = db.after("truncate p").await;
    written.sort();
    assert_eq!(written, ["p 1 DELETE", "p 101 DELETE", "p 201 DELETE"], "the leaf that came later included");
    db.run("select outbox.watch('p', 'p', ignore => array['synced']); insert into p values (1), (201)").await;
    db.changes().await;
    assert_eq!(db.after("truncate p3").await, ["p 201 DELETE"], "watched again, its leaves of now are covered");
}

#[tokio::test]
async fn a_row_that_moves_to_another_partition_is_still_there() {
    let mut db = Watched::new(
        "create table p (id int, region int, primary key (id, region)) partition by list (region);
         create table p1 partition of p for values in (1); create table p2 partition of p for values in (2);
         select outbox.watch('p', 'p', 'id'), outbox.watch('p', 'p2', columns => array['id']);
         insert into p values (7, 1)",
    )
    .await;
    let written = db.after("update p set region = 2").await;
    assert_eq!(written.iter().rfind(|event| event.starts_with("p 7 ")).unwrap(), "p 7 INDEX");
    assert!(
        written.contains(&"p2 7:1 DELETE".to_owned()) && written.contains(&"p2 7:2 INDEX".to_owned()),
        "{written:?}"
    );
}
