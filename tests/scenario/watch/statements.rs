//! Watches for statements: the same events as those for rows, fewer and in the order of the keys.

use std::collections::BTreeMap;

use super::{JOBS, NOTHING, Watched};

/// For each topic the keys it was told of, each with what was said last.
fn last_words(written: &[String]) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut topics: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for event in written {
        let [topic, key, action] = event.split(' ').collect::<Vec<_>>()[..] else { panic!("{event}") };
        topics.entry(topic).or_default().insert(key, action);
    }
    topics
}

#[tokio::test]
async fn a_watch_for_statements_says_of_every_key_what_one_for_rows_says() {
    let watches = |topic: &str, each: &str| {
        format!(
            "select outbox.watch('jobs', '{topic}', each => '{each}'),
                    outbox.watch('jobs', '{topic}-ignoring', ignore => array['synced'], each => '{each}'),
                    outbox.watch('jobs', '{topic}-two', array['id', 'title'], each => '{each}')"
        )
    };
    let setup = format!(
        "create table jobs (id int primary key, title text not null default 'a:b', n int, synced timestamptz,
                            above int references jobs on update cascade on delete set null, unique (id, title));
         {}; {}",
        watches("row", "row"),
        watches("statement", "statement")
    );
    let mut db = Watched::new(&setup).await;
    for sql in [
        "insert into jobs (id, above) values (1, null), (2, 1), (3, 1), (4, 2)",
        "insert into jobs (id) select 10 where false",
        "update jobs set title = title, synced = synced",
        "update jobs set synced = now()",
        "update jobs set synced = null, n = 1 where id < 3",
        "update jobs set title = case id when 2 then title else 'c' end",
        "update jobs set id = id + 1 where id = 4",
        "update jobs set id = id + 100 where id in (1, 3)",
        "update jobs set id = id - 1 where id in (5, 103)",
        "update jobs set id = 101 + (id - 101) * 2, n = 2",
        "insert into jobs (id, title) values (101, 'd'), (7, 'e') on conflict (id) do update set title = excluded.title",
        "insert into jobs (id) values (7) on conflict do nothing",
        "with gone as (delete from jobs where id = 7 returning 1), more as (insert into jobs (id) values (8), (9))
         update jobs set n = 5 where id < 9",
        "begin; insert into jobs (id) values (20); savepoint s; insert into jobs (id) values (21); rollback to s;
         update jobs set id = 22 where id = 20; delete from jobs where id = 22; commit",
        "create table moved as select * from jobs; delete from jobs; insert into jobs select * from moved",
        "delete from jobs where above is null",
        "delete from jobs where false",
        "alter table jobs add later text; update jobs set later = 'x'",
        "alter table jobs rename to tasks; update tasks set later = 'y'; alter table tasks rename to jobs",
        "truncate jobs",
    ] {
        let written = db.after(sql).await;
        let topics = last_words(&written);
        for kind in ["", "-ignoring", "-two"] {
            let [row, statement] = ["row", "statement"].map(|each| topics.get(format!("{each}{kind}").as_str()));
            assert_eq!(statement, row, "{kind} {sql}");
        }
    }
}

#[tokio::test]
async fn a_statement_writes_each_key_once_and_in_the_order_of_the_keys() {
    let mut db = Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs', each => 'statement')")).await;
    assert_eq!(
        db.after("insert into jobs values (3), (10), (2)").await,
        ["jobs 10 INDEX", "jobs 2 INDEX", "jobs 3 INDEX"]
    );
    assert_eq!(
        db.after("update jobs set id = id + 5 where id in (3, 2)").await.len(),
        4,
        "two keys are gone, two have come"
    );
    assert_eq!(db.after("update jobs set n = 1 where id = 8").await, ["jobs 8 INDEX"]);
    assert_eq!(db.after("update jobs set n = 1 where id = 8").await, NOTHING);
}

/// The plan of the function is made for what comes first.
#[tokio::test]
async fn a_statement_of_many_rows_ends_whatever_the_memory_and_whatever_came_first() {
    let setup = "create table t (id int primary key, n int); insert into t select generate_series(1, 20000);
                 select outbox.watch('t', 't', each => 'statement'); set work_mem = '64kB'; set statement_timeout = '20s'";
    for first in ["update t set n = 1", "update t set n = 1 where id = 1"] {
        let mut db = Watched::new(setup).await;
        db.after(first).await;
        assert_eq!(db.after("update t set n = 2").await.len(), 20_000);
    }
}

#[tokio::test]
async fn keys_are_told_apart_as_they_are_stored_whatever_their_collation() {
    let setup = "create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                 create table t (k text collate ci not null, n int); create unique index on t (k collate \"C\");
                 select outbox.watch('t', 't', 'k', each => 'statement'), outbox.watch('t', 'rows', 'k')";
    let mut db = Watched::new(setup).await;
    for (sql, keys) in [
        ("insert into t values ('A', 1), ('a', 2)", ["A INDEX", "a INDEX"]),
        ("update t set n = 3", ["A INDEX", "a INDEX"]),
        ("delete from t where k collate \"C\" = 'a'; update t set k = 'a'", ["A DELETE", "a INDEX"]),
    ] {
        let written = db.after(sql).await;
        let topics = last_words(&written);
        assert_eq!(topics["t"], topics["rows"], "{sql}");
        let said: Vec<_> = topics["t"].iter().map(|(key, action)| format!("{key} {action}")).collect();
        assert_eq!(said, keys, "{sql}");
    }
}

#[tokio::test]
async fn a_statement_with_a_key_that_is_too_long_is_refused_and_a_trace_goes_with_its_events() {
    let mut db =
        Watched::new("create table t (id text primary key); select outbox.watch('t', 'keys', each => 'statement')")
            .await;
    let (code, said) = db.refused("insert into t values ('a'), (repeat('x', 513))").await;
    assert!(code == "22023" && said.contains("keys\" has 513 bytes") && said.contains("public.t(id)"), "{said}");
    assert_eq!(db.after("set outbox.traceparent = '00-1-2-03'; insert into t values ('a')").await, ["keys a INDEX"]);
    let headers = db.client.query_one("select headers->>'traceparent' from outbox.events", &[]).await.unwrap();
    assert_eq!(headers.get::<_, &str>(0), "00-1-2-03");
}
