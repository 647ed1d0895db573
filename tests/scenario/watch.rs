//! Watched tables: every change of a row writes its event, and nothing else does, on a real PostgreSQL.

mod installed;
mod installing;
mod partitions;
mod referring;
mod refusing;
mod statements;

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
        db.after("insert into jobs values (1, 'd'), (2, 'e') on conflict (id) do update set title = excluded.title")
            .await,
        ["jobs 1 INDEX", "jobs 2 INDEX"]
    );
    assert_eq!(db.after("begin; insert into jobs values (3); rollback").await, NOTHING);
}

#[tokio::test]
async fn an_update_that_changes_no_watched_column_does_not_even_enter_the_trigger() {
    let watches =
        "select outbox.watch('jobs', 'whole'), outbox.watch('jobs', 'ignoring', ignore => array['synced', 'n']),
                          outbox.watch('jobs', 'listing', columns => array['title'])";
    let mut db = Watched::new(&format!("{JOBS}; {watches}; insert into jobs values (1, 'a')")).await;
    let topics = async |db: &mut Watched, sql: &str| {
        let entered =
            "select coalesce(sum(calls), 0)::int from pg_stat_xact_user_functions where funcname like 'watch%'";
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
    db.run("alter table jobs alter title type varchar(10); alter table jobs drop n; alter table jobs rename to tasks")
        .await;
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
    let mut db =
        Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs'); insert into jobs values (1), (9)")).await;
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
    let setup =
        format!("{JOBS}; insert into jobs select generate_series(1, 25000); select outbox.watch('jobs', 'jobs')");
    let mut db = Watched::new(&setup).await;
    let written = db.after("truncate jobs").await;
    assert_eq!(written.len(), 25_000);
    assert_eq!((written[0].as_str(), written[24_999].as_str()), ("jobs 1 DELETE", "jobs 9999 DELETE"));
    assert_eq!(db.after("truncate jobs").await, NOTHING);
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
        db.client
            .query_one("select count(*) from outbox.watches where relation_name = $1", &[&table])
            .await
            .unwrap()
            .get::<_, i64>(0),
        2
    );
}

#[tokio::test]
async fn copy_fires_the_triggers_too() {
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
