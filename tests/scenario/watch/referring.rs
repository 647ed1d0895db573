//! Rows that speak for others: children for their parent, and lookups.

use super::{NOTHING, Watched};

const FAMILY: &str = "
    create table parents (id bigint primary key, title text);
    create table children (id int primary key, parent int references parents on delete cascade, note text);
    select outbox.watch('parents', 'family'), outbox.watch('children', 'family', 'parent', parent => 'parents');
    insert into parents values (1), (2)";

#[tokio::test]
async fn a_child_speaks_for_its_parent() {
    let mut db = Watched::new(FAMILY).await;
    assert_eq!(db.after("insert into children values (1, 1), (2, null)").await, ["family 1 INDEX"]);
    assert_eq!(db.after("update children set note = 'x'").await, ["family 1 INDEX"]);
    assert_eq!(db.after("update children set parent = 2 where id = 1").await, ["family 1 INDEX", "family 2 INDEX"]);
    assert_eq!(db.after("update children set parent = null where id = 1").await, ["family 2 INDEX"]);
    assert_eq!(db.after("update children set parent = 1 where id = 1").await, ["family 1 INDEX"]);
    assert_eq!(db.after("delete from children where id = 2").await, NOTHING, "a child of nobody");
    assert_eq!(db.after("delete from children").await, ["family 1 INDEX"]);
    db.after("insert into children values (1, 1), (2, 1), (3, 2), (4, null)").await;
    assert_eq!(db.after("truncate children").await, ["family 1 INDEX", "family 2 INDEX"]);
}

#[tokio::test]
async fn a_child_whose_parent_is_gone_says_delete_cascades_included() {
    let mut db = Watched::new(&format!("{FAMILY}; insert into children values (1, 1), (2, 1)")).await;
    assert_eq!(db.after("delete from parents where id = 1").await, ["family 1 DELETE"; 3]);
    db.run("alter table children drop constraint children_parent_fkey").await;
    assert_eq!(db.after("insert into children values (3, 77)").await, ["family 77 DELETE"]);
    assert_eq!(db.after("update children set parent = 2").await, ["family 2 INDEX", "family 77 DELETE"]);
    db.after("begin; delete from parents; update children set note = 'y'; insert into parents values (2); commit")
        .await;
    assert_eq!(db.after("update children set note = 'z'").await, ["family 2 INDEX"]);
}

#[tokio::test]
async fn a_childs_key_is_written_as_its_parents_whatever_their_types() {
    let mut db = Watched::new(
        "create table parents (a char(3), b numeric(6, 2), primary key (a, b));
         create table children (id int primary key, b int, a text, c text);
         select outbox.watch('children', 'family', array['a', 'b'], parent => 'parents'),
                outbox.watch('parents', 'family');
         insert into parents values ('x', 1)",
    )
    .await;
    assert_eq!(db.after("update parents set b = 1.5").await, ["family x:1.00 DELETE", "family x:1.50 INDEX"]);
    db.after("update parents set b = 1").await;
    assert_eq!(db.after("insert into children values (1, 1, 'x')").await, ["family x:1.00 INDEX"]);
    assert_eq!(db.after("update children set b = 2").await, ["family x:1.00 INDEX", "family x:2.00 DELETE"]);
}

const LOOKED_UP: &str = "
    create table workspaces (id int primary key, name text, seen int);
    create table jobs (id uuid primary key, workspace int);
    insert into workspaces values (1, 'a'), (2, 'b');
    insert into jobs select ('00000000-0000-0000-0000-00000000000' || n)::uuid, 1 + n % 2 from generate_series(1, 4) n;
    select outbox.watch('workspaces', 'jobs', columns => array['id', 'name'], lookup => '
        -- All jobs in it.
        select j.id from public.jobs as j where j.workspace = ( $1 ).id or j.workspace = $1.\"id\"; ')";

#[tokio::test]
async fn a_row_that_concerns_many_keys_looks_them_up_for_what_it_was_and_what_it_is() {
    let mut db = Watched::new(LOOKED_UP).await;
    let key = |n: i32, action: &str| format!("jobs 00000000-0000-0000-0000-00000000000{n} {action}");
    assert_eq!(db.after("update workspaces set name = 'c' where id = 1").await, [key(2, "INDEX"), key(4, "INDEX")]);
    assert_eq!(db.after("update workspaces set seen = 1").await, NOTHING);
    let all: Vec<_> = (1..5).map(|n| key(n, "INDEX")).collect();
    db.run("create table spare as select * from workspaces").await;
    db.run("update workspaces set id = 3 where id = 2").await;
    db.changes().await;
    assert_eq!(db.after("update workspaces set id = case id when 1 then 2 else 1 end").await.len(), 6);
    assert_eq!(db.after("delete from workspaces where id = 2").await, [key(1, "INDEX"), key(3, "INDEX")]);
    assert_eq!(db.after("insert into workspaces values (2, 'x')").await, [key(1, "INDEX"), key(3, "INDEX")]);
    assert_eq!(db.after("truncate workspaces").await, all);
    db.run("delete from jobs").await;
    assert_eq!(db.after("insert into workspaces values (1, 'y')").await, NOTHING);
}
