//! Watched tables: every change of a row writes its event, and nothing else does, on a real PostgreSQL.

use std::pin::pin;

use futures::SinkExt;
use tokio_postgres::Client;

use crate::support::postgres::fresh_outbox;

/// A database with watched tables, and how far its outbox was looked at.
struct Watched {
    client: Client,
    seen: i64,
}

impl Watched {
    /// Runs `setup` after the migrations.
    async fn new(setup: &str) -> Self {
        let (client, _) = fresh_outbox().await;
        let mut watched = Self { client, seen: 0 };
        watched.run(setup).await;
        watched.changes().await;
        watched
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The events written since the last look, as `topic key ACTION`, in order. Versions and ids must have grown.
    async fn changes(&mut self) -> Vec<String> {
        let sql = "select id, topic || ' ' || key || ' ' || action,
                          version > coalesce(lag(version) over (partition by topic, key order by id), 0)
                     from outbox.events where id > $1 order by id";
        let rows = self.client.query(sql, &[&self.seen]).await.unwrap();
        self.seen = rows.last().map_or(self.seen, |row| row.get(0));
        assert!(rows.iter().all(|row| row.get::<_, bool>(2)), "versions grow with the ids");
        rows.iter().map(|row| row.get(1)).collect()
    }

    /// What `sql` writes.
    async fn after(&mut self, sql: &str) -> Vec<String> {
        self.run(sql).await;
        self.changes().await
    }

    /// SQLSTATE, and message with detail and hint, of the refusal.
    async fn refused(&self, sql: &str) -> (String, String) {
        let error = self.client.batch_execute(sql).await.expect_err(sql);
        let error = error.as_db_error().expect("the server's own words");
        let more = [error.detail(), error.hint()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        (error.code().code().to_owned(), format!("{}; {more}", error.message()))
    }
}

/// Nothing was written.
const NOTHING: [&str; 0] = [];

const JOBS: &str = "create table jobs (id int primary key, title text, n int, synced timestamptz)";

#[tokio::test]
async fn insert_update_delete_and_reinsert_each_write_one_event() {
    let mut db = Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs')")).await;
    assert_eq!(db.after("insert into jobs values (1, 'a')").await, ["jobs 1 INDEX"]);
    assert_eq!(db.after("update jobs set title = 'b'").await, ["jobs 1 INDEX"]);
    assert_eq!(db.after("delete from jobs").await, ["jobs 1 DELETE"]);
    assert_eq!(db.after("insert into jobs values (1, 'c')").await, ["jobs 1 INDEX"]);
    assert_eq!(
        db.after("insert into jobs values (1, 'd'), (2, 'e') on conflict (id) do update set title = excluded.title").await,
        ["jobs 1 INDEX", "jobs 2 INDEX"]
    );
    assert_eq!(db.after("begin; insert into jobs values (3); rollback").await, NOTHING);
}

#[tokio::test]
async fn an_update_that_changes_no_watched_column_does_not_even_enter_the_trigger() {
    let watches = "select outbox.watch('jobs', 'whole'), outbox.watch('jobs', 'ignoring', ignore => array['synced', 'n']),
                          outbox.watch('jobs', 'listing', columns => array['title'])";
    let mut db = Watched::new(&format!("{JOBS}; {watches}; insert into jobs values (1, 'a')")).await;
    let topics = async |db: &mut Watched, sql: &str| {
        let entered = "select coalesce(sum(calls), 0)::int from pg_stat_xact_user_functions where funcname like 'watch%'";
        db.run("begin; set local track_functions = 'pl'").await;
        let before: i32 = db.client.query_one(entered, &[]).await.unwrap().get(0);
        db.run(sql).await;
        let after: i32 = db.client.query_one(entered, &[]).await.unwrap().get(0);
        let written = db.after("commit").await;
        assert_eq!(usize::try_from(after - before).unwrap(), written.len(), "{sql}");
        let mut topics: Vec<_> = written.iter().map(|event| event.split(' ').next().unwrap().to_owned()).collect();
        topics.sort();
        topics
    };
    assert_eq!(topics(&mut db, "update jobs set title = title, synced = synced").await, NOTHING);
    assert_eq!(topics(&mut db, "update jobs set synced = now()").await, ["whole"]);
    assert_eq!(topics(&mut db, "update jobs set synced = null, n = 1").await, ["whole"]);
    assert_eq!(topics(&mut db, "update jobs set title = 'b'").await, ["ignoring", "listing", "whole"]);
    assert_eq!(topics(&mut db, "update jobs set title = 'c', synced = now()").await, ["ignoring", "listing", "whole"]);
    // The key counts wherever it is.
    db.run("update jobs set id = 2").await;
    assert_eq!(db.changes().await.len(), 6);
}

#[tokio::test]
async fn columns_may_be_added_altered_and_dropped_and_new_ones_are_watched() {
    let watches = "select outbox.watch('jobs', 'whole'), outbox.watch('jobs', 'ignoring', ignore => array['synced'])";
    let mut db = Watched::new(&format!("{JOBS}; {watches}; insert into jobs values (1, 'a', 1)")).await;
    db.run("alter table jobs add later text").await;
    assert_eq!(db.after("update jobs set later = 'x'").await.len(), 2);
    db.run("alter table jobs alter title type varchar(10); alter table jobs drop n; alter table jobs rename to tasks").await;
    assert_eq!(db.after("update tasks set title = 'b'").await.len(), 2);
    assert_eq!(db.after("update tasks set synced = now()").await, ["whole 1 INDEX"]);
    assert_eq!(db.after("truncate tasks").await.len(), 2);
}

#[tokio::test]
async fn values_of_types_without_equality_are_compared_as_they_are_stored() {
    let mut db = Watched::new(
        "create table odd (id int primary key, j json, p point, n numeric, t text);
         select outbox.watch('odd', 'whole'), outbox.watch('odd', 'listed', columns => array['j', 'p', 'n']),
                outbox.watch('odd', 'ignoring', ignore => array['t']);
         insert into odd values (1, '{}', '(1,1)', 1.0, 'x')",
    )
    .await;
    for change in ["j = '{ }'", "p = '(1,2)'", "n = 1.00", "j = null"] {
        assert_eq!(db.after(&format!("update odd set {change}")).await.len(), 3, "{change}");
    }
    assert_eq!(db.after("update odd set j = j, p = p, n = n").await, NOTHING);
}

#[tokio::test]
async fn a_changed_key_says_delete_for_the_old_one_and_index_for_the_new() {
    let mut db = Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs'); insert into jobs values (1), (9)")).await;
    assert_eq!(db.after("update jobs set id = 2 where id = 1").await, ["jobs 1 DELETE", "jobs 2 INDEX"]);
    // In the order of the keys, whichever is the new one.
    assert_eq!(db.after("update jobs set id = 3 where id = 9").await, ["jobs 3 INDEX", "jobs 9 DELETE"]);
}

#[tokio::test]
async fn where_rows_share_a_key_the_end_of_one_says_nothing_about_the_others() {
    let setup = "create table t (id int primary key, owner text); select outbox.watch('t', 'owners', 'owner')";
    let mut db = Watched::new(&format!("{setup}; insert into t values (1, 'a'), (2, 'a')")).await;
    assert_eq!(db.after("delete from t where id = 1").await, ["owners a INDEX"]);
    assert_eq!(db.after("update t set owner = 'b'").await, ["owners a INDEX", "owners b INDEX"]);
}

#[tokio::test]
async fn truncate_deletes_every_key() {
    let setup = format!("{JOBS}; insert into jobs select generate_series(1, 25000); select outbox.watch('jobs', 'jobs')");
    let mut db = Watched::new(&setup).await;
    let written = db.after("truncate jobs").await;
    assert_eq!(written.len(), 25_000);
    assert_eq!((written[0].as_str(), written[24_999].as_str()), ("jobs 1 DELETE", "jobs 9999 DELETE"));
    assert_eq!(db.after("truncate jobs").await, NOTHING);
}

const PARTITIONED: &str = "
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
    assert!(written.contains(&"p2 7:1 DELETE".to_owned()) && written.contains(&"p2 7:2 INDEX".to_owned()), "{written:?}");
}

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
    db.after("begin; delete from parents; update children set note = 'y'; insert into parents values (2); commit").await;
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

#[tokio::test]
async fn names_of_every_kind_and_keys_of_several_columns_work() {
    let table = "\"Mixed Case\".\"weird \"\"name\"";
    let mut db = Watched::new(&format!(
        "create schema \"Mixed Case\";
         create table {table} (\"Tenant's\" text, \"the {{Id}} %s\" uuid, \"No\\te\" text, \"Es Synced\" int,
                               primary key (\"Tenant's\", \"the {{Id}} %s\"));
         select outbox.watch('{table}', 'A.b_c-1', ignore => array['Es Synced']),
                outbox.watch('{table}', 'listed', columns => array['No\\te'], key => 'the {{Id}} %s')"
    ))
    .await;
    let id = "00000000-0000-0000-0000-000000000001";
    assert_eq!(
        db.after(&format!("insert into {table} values ('a:b', '{id}', 'x')")).await,
        [format!("A.b_c-1 a\\:b:{id} INDEX"), format!("listed {id} INDEX")]
    );
    assert_eq!(db.after(&format!("update {table} set \"Es Synced\" = 1")).await, NOTHING);
    assert_eq!(db.after(&format!("update {table} set \"No\\te\" = 'y'")).await.len(), 2);
    assert_eq!(
        db.after(&format!("update {table} set \"Tenant's\" = 'c\\d'")).await,
        [format!("A.b_c-1 a\\:b:{id} DELETE"), format!("A.b_c-1 c\\\\d:{id} INDEX")]
    );
    let as_made = format!("select outbox.key(\"Tenant's\", \"the {{Id}} %s\"::text) from {table}");
    let key: String = db.client.query_one(&as_made, &[]).await.unwrap().get(0);
    assert_eq!(key, format!("c\\\\d:{id}"), "a projection makes the same key with outbox.key");
    assert_eq!(db.after(&format!("truncate {table}")).await.len(), 2);
    assert_eq!(
        db.client.query_one("select count(*) from outbox.watches where relation_name = $1", &[&table]).await.unwrap().get::<_, i64>(0),
        2
    );
}

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
async fn copy_fires() {
    let mut db = Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs')")).await;
    let mut copy = pin!(db.client.copy_in("copy jobs (id, title) from stdin").await.unwrap());
    copy.send(bytes::Bytes::from_static(b"1\ta\n2\tb\n")).await.unwrap();
    copy.finish().await.unwrap();
    assert_eq!(db.changes().await, ["jobs 1 INDEX", "jobs 2 INDEX"]);
}

#[tokio::test]
async fn what_a_savepoint_takes_back_writes_nothing() {
    let mut db = Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs')")).await;
    let sql = "begin; insert into jobs values (1); savepoint s; insert into jobs values (2); rollback to s;
               insert into jobs values (3); commit";
    assert_eq!(db.after(sql).await, ["jobs 1 INDEX", "jobs 3 INDEX"]);
}

#[tokio::test]
async fn triggers_rest_under_replication_unless_asked_to_fire_always() {
    let setup = "select outbox.watch('p', 'always', always => true), outbox.watch('p', 'origin')";
    let mut db = Watched::new(&format!("{PARTITIONED}; select outbox.unwatch('p'); {setup}")).await;
    db.run("set session_replication_role = replica").await;
    let sql = "insert into p values (1, 'a'); update p set title = 'b'; delete from p; insert into p values (101); truncate p";
    let expected = ["1 INDEX", "1 INDEX", "1 DELETE", "101 INDEX", "101 DELETE"].map(|event| format!("always {event}"));
    assert_eq!(db.after(sql).await, expected);
}

#[tokio::test]
async fn a_key_that_is_null_or_too_long_is_refused_with_its_table_and_columns() {
    let mut db = Watched::new(
        "create table t (a text, b text, n int);
         select outbox.watch('t', 'keys', array['a', 'b']), outbox.watch('t', 'looked', lookup => 'select ($1).a')",
    )
    .await;
    for (sql, code, words) in [
        ("insert into t values ('x', null)", "22004", ["topic \"keys\" is null", "public.t(a, b)"]),
        (
            "select outbox.unwatch('t', 'keys'); insert into t values (null, 'x')",
            "22004",
            ["topic \"looked\" is null", "lookup of public.t"],
        ),
        ("insert into t values (repeat('x', 513), '')", "22023", ["keys\" has 514 bytes", "public.t(a, b)"]),
        ("insert into t values ('y', 'z'); update t set b = null where a = 'y'", "22004", ["\"keys\" is null", "public.t(a, b)"]),
    ] {
        let (said_code, said) = db.refused(&format!("begin; {sql}")).await;
        db.run("rollback").await;
        assert_eq!(said_code, code, "{sql}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{sql}: {said}");
    }
    db.run("alter table t disable trigger user; insert into t values ('old', null); alter table t enable trigger user").await;
    assert!(db.refused("truncate t").await.1.contains("public.t(a, b)"));
    assert_eq!(db.changes().await, NOTHING);
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_the_reason() {
    let db = Watched::new(
        "create table t (id int primary key, \"Name\" text, d date, day date, f float8, stamp timestamptz);
         create table bare (id int); create view v as select * from t; create temp table temporary (id int primary key);
         create domain odd as int not null; create domain dated as date; create table o (id odd primary key, d dated);
         create table two (a int, b int, primary key (a, b))",
    )
    .await;
    for (arguments, code, words) in [
        ("'t', ''", "22023", "'' is not a topic"),
        ("'t', 'Ünicode'", "22023", "is not a topic"),
        ("'t', null", "22004", "topic is null"),
        ("null, 'x'", "42P01", "there is no table NULL"),
        ("'v', 'x'", "42809", "public.v is not a table; Of a view, watch the tables it reads"),
        ("'temporary', 'x'", "42809", "cannot be watched"),
        ("'outbox.versions', 'x'", "42809", "cannot be watched"),
        ("'bare', 'x'", "22023", "public.bare has no primary key; Name the columns"),
        ("'t', 'x', array['ID']", "42703", "key names 'ID', which is no column of public.t; Did you mean 'id'? Its columns: id, Name"),
        ("'t', 'x', 'id,Name'", "42703", "key names 'id,Name'"),
        ("'t', 'x', array[]::text[]", "22023", "key names no column"),
        ("'t', 'x', array['id', null]", "22004", "key holds a null"),
        ("'t', 'x', array['id', 'id']", "42701", "key names 'id' twice"),
        ("'t', 'x', columns => array['name']", "42703", "Did you mean 'Name'"),
        ("'t', 'x', ignore => array['missing']", "42703", "ignore names 'missing'"),
        ("'t', 'x', ignore => array['id']", "22023", "a column of the key cannot be ignored"),
        ("'t', 'x', ignore => array['d'], columns => array['f']", "22023", "columns and ignore"),
        ("'o', 'x', ignore => array['d']", "0A000", "'d' cannot be ignored, its type is a domain"),
        ("'t', 'x', array['id', 'd']", "0A000", "d, of type date, of public.t cannot be part of a key; How such a value"),
        ("'t', 'x', array['stamp']", "0A000", "timestamp with time zone"),
        ("'t', 'x', array['f']", "0A000", "double precision"),
        ("'o', 'x', array['d']", "0A000", "d, of type date"),
        ("'bare', 'x', parent => 't'", "22023", "With parent, key names the columns of this table"),
        ("'t', 'x', 'id', parent => 'bare'", "22023", "the parent public.bare has no primary key"),
        ("'t', 'x', 'id', parent => 'bare', parent_key => array['id']", "42830", "no unique index on public.bare(id)"),
        ("'t', 'x', 'id', parent => 'two'", "22023", "key has 1 columns, but the parent's key has 2"),
        ("'t', 'x', 'id', parent_key => array['id']", "22023", "parent_key needs parent"),
        ("'t', 'x', 'id', lookup => 'select 1'", "22023", "lookup says the keys"),
        ("'t', 'x', lookup => 'selec 1'", "42601", "lookup cannot be used: syntax error"),
        ("'t', 'x', lookup => 'select id from bare'", "42P01", "tables as schema.table"),
        ("'t', 'x', lookup => 'select ($1).missing'", "42703", "missing"),
        ("'t', 'x', lookup => 'select 1, 2'", "42601", "must return only one column"),
        ("'t', 'x', lookup => 'select $1::text'", "42601", "only column by column"),
        ("'t', 'x', lookup => 'select ($1).*'", "42601", "only column by column"),
        ("'t', 'x', lookup => 'select $2.id'", "42601", "only column by column"),
    ] {
        let sql = format!("select outbox.watch({arguments})");
        let (said_code, said) = db.refused(&sql).await;
        assert!(said.contains(words), "{sql}: {said}");
        assert_eq!(said_code, code, "{sql}: {said}");
    }
    let left = "select count(*) from pg_trigger where tgname like 'outbox%'";
    assert_eq!(db.client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}
