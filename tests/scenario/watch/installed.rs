//! What is told of watches and routes that are no longer as they were installed.

use super::partitions::PARTITIONED;
use super::{JOBS, Watched};
use crate::support::postgres::{connect, fresh_outbox};
use crate::support::servers;

const OUTBOX: &str = "create table sent (id int, aggregatetype text, aggregateid text, payload jsonb, at timestamptz);
    select outbox.route('sent', headers => '{\"at\": \"at\"}')";

/// All that is wrong, as `kind table topic: fault`.
async fn faults(db: &Watched) -> Vec<String> {
    let sql = "select format('%s %s %s: %s', kind, relation_name, topic, fault)
                 from outbox.installed() with ordinality, unnest(faults) with ordinality as f (fault, place)
                order by ordinality, place";
    db.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The trigger of a watch whose name ends so.
async fn trigger(db: &Watched, table: &str, end: &str) -> String {
    let sql = "select tgname::text from pg_trigger where tgrelid = $1::text::regclass and tgname like '%' || $2::text";
    db.client.query_one(sql, &[&table, &end]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_as_it_was_installed_has_no_faults_whatever_the_kind() {
    let db = Watched::new(&format!(
        "{PARTITIONED}; {JOBS}; {OUTBOX};
         create table children (id int primary key, job int);
         select outbox.watch('jobs', 'a', each => 'statement'), outbox.watch('jobs', 'b', always => true),
                outbox.watch('jobs', 'c', columns => array['title']),
                outbox.watch('children', 'a', key => 'job', parent => 'jobs'),
                outbox.watch('children', 'd', lookup => 'select ($1).job'), outbox.watch('p2', 'leaf');
         alter table jobs rename title to caption;
         alter table children rename to offspring"
    ))
    .await;
    let sql = "select string_agg(format('%s %s %s', kind, relation_name, topic), '; ') from outbox.installed()";
    let all: String = db.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(
        all,
        "watch public.jobs a; watch public.offspring a; watch public.jobs b; watch public.jobs c; watch public.offspring d; \
         watch public.p2 leaf; route public.sent outbox.event.${routedByValue}; watch public.p p"
    );
    assert_eq!(faults(&db).await, [""; 0]);
}

#[tokio::test]
async fn a_trigger_that_is_switched_off_or_gone_is_told_with_what_it_no_longer_sees() {
    let mut db = Watched::new(&format!("{JOBS}; {OUTBOX}; select outbox.watch('jobs', 'jobs')")).await;
    let off = trigger(&db, "jobs", "_row").await;
    db.run(&format!("alter table jobs disable trigger \"{off}\"")).await;
    assert_eq!(db.after("insert into jobs values (1)").await, [""; 0]);
    assert_eq!(
        faults(&db).await,
        [format!("watch public.jobs jobs: inserts, deletes of public.jobs are not seen: trigger {off} is disabled")]
    );
    db.run(&format!("alter table jobs enable replica trigger \"{off}\"")).await;
    assert_eq!(faults(&db).await.len(), 1, "it fires where nobody writes");
    db.run(&format!("alter table jobs enable trigger \"{off}\"")).await;
    assert_eq!(faults(&db).await, [""; 0]);

    let (gone, last) = (trigger(&db, "jobs", "_update").await, trigger(&db, "jobs", "_truncate").await);
    db.run(&format!("drop trigger \"{gone}\" on jobs; drop trigger \"{last}\" on jobs")).await;
    db.run("alter table sent disable trigger all").await;
    let told = faults(&db).await;
    assert_eq!(
        told,
        [
            "watch public.jobs jobs: updates, truncates of public.jobs are not seen: the trigger for them is gone",
            "route public.sent outbox.event.${routedByValue}: inserts of public.sent are not seen: trigger outbox_route is disabled",
        ]
    );
    db.run("select outbox.watch('jobs', 'jobs'), outbox.route('sent', headers => '{\"at\": \"at\"}')").await;
    assert_eq!(faults(&db).await, [""; 0], "installed again");

    db.run("select outbox.watch('jobs', 'jobs', always => true)").await;
    let all = trigger(&db, "jobs", "_row").await;
    db.run(&format!("alter table jobs enable trigger \"{all}\"")).await;
    assert_eq!(
        faults(&db).await,
        [format!(
            "watch public.jobs jobs: inserts, deletes of public.jobs are not seen: trigger {all} is not enabled always"
        )]
    );
}

#[tokio::test]
async fn a_partition_whose_triggers_are_off_is_told_by_its_name() {
    let db =
        Watched::new(&format!("{PARTITIONED}; alter table p2 disable trigger all; alter table p3 disable trigger all"))
            .await;
    let told = faults(&db).await;
    let [second, third] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        second
            .starts_with("watch public.p p: inserts, deletes, updates, truncates of public.p2 are not seen: trigger "),
        "{second}"
    );
    assert!(third.contains(": inserts, deletes, updates of public.p3 are not seen"), "{third}");
}

#[tokio::test]
async fn a_table_or_column_that_is_gone_or_has_another_name_is_told_with_what_takes_it_away() {
    let db = Watched::new(&format!(
        "{JOBS}; {OUTBOX}; create table children (id int primary key, job int);
         select outbox.watch('jobs', 'jobs'), outbox.watch('children', 'jobs', key => 'job', parent => 'jobs')"
    ))
    .await;
    db.run("alter table jobs rename id to number; alter table sent rename payload to body").await;
    assert_eq!(
        faults(&db).await,
        [
            "watch public.children jobs: outbox.watch: parent_key names 'id', which is no column of public.jobs",
            "watch public.jobs jobs: outbox.watch: key names 'id', which is no column of public.jobs",
            "route public.sent outbox.event.${routedByValue}: outbox.route: payload names 'payload', which is no column of \
             public.sent",
        ]
    );
    db.run("drop table jobs; drop table sent").await;
    let told = faults(&db).await;
    let [parent, table, route] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(parent, "watch public.children jobs: its parent is gone");
    assert!(table.starts_with("watch public.jobs jobs: the table is gone; outbox.unwatch("), "{table}");
    assert!(route.contains("the table is gone; outbox.unroute("), "{route}");
    for told in [table, route] {
        let mend =
            told.split_once("; ").unwrap().1.replace(" takes the watch away", "").replace(" takes the route away", "");
        db.run(&format!("select {mend}")).await;
    }
    assert_eq!(faults(&db).await, [parent.as_str()]);
}

#[tokio::test]
async fn a_route_is_told_whose_column_has_another_type_and_none_whose_messages_stay_the_same() {
    let db = Watched::new(OUTBOX).await;
    db.run("alter table sent alter aggregateid type varchar(50), alter id type bigint, add more int").await;
    assert_eq!(faults(&db).await, [""; 0]);
    for change in ["payload type text", "at type timestamptz(3)"] {
        db.run(&format!("alter table sent alter {change}")).await;
        assert_eq!(
            faults(&db).await,
            [
                "route public.sent outbox.event.${routedByValue}: a column of public.sent has another type than when it was routed"
            ],
            "{change}"
        );
        db.run("select outbox.route('sent', headers => '{\"at\": \"at\"}')").await;
        assert_eq!(faults(&db).await, [""; 0], "{change}");
    }
    db.run("alter table sent alter payload type bytea using null").await;
    let told = faults(&db).await;
    assert!(told.len() == 1 && told[0].contains("it has to be jsonb, json or text"), "{told:?}");
}

#[tokio::test]
async fn a_partition_whose_truncation_is_not_seen_any_more_is_told_and_one_that_never_was_seen_is_not() {
    let db = Watched::new(PARTITIONED).await;
    let off = trigger(&db, "p2", "_truncate").await;
    db.run(&format!("alter table p2 disable trigger \"{off}\"")).await;
    assert_eq!(
        faults(&db).await,
        [format!("watch public.p p: truncates of public.p2 are not seen: trigger {off} is disabled")]
    );
}

#[tokio::test]
async fn tables_that_writers_or_readers_take_for_another_one_are_told() {
    let db = Watched::new(&format!(
        "{JOBS}; {OUTBOX}; create table children (id int primary key, job int, note text);
         select outbox.watch('jobs', 'jobs', ignore => array['synced']),
                outbox.watch('children', 'jobs', key => 'job', parent => 'jobs')"
    ))
    .await;
    db.run("alter table jobs rename synced to synced_at").await;
    assert_eq!(
        faults(&db).await,
        ["watch public.jobs jobs: outbox.watch: ignore names 'synced', which is no column of public.jobs"]
    );
    db.run(
        "alter table jobs rename synced_at to synced; alter table jobs rename to old; alter table sent rename to was",
    )
    .await;
    let renamed = "watch public.children jobs: its parent has another name than when it was watched, public.old";
    assert_eq!(faults(&db).await, [renamed]);
    db.run("create table jobs (like old including all); create table sent (like was)").await;
    let taken = "watch public.old jobs: another table is public.jobs now, and this one is public.old";
    let told = faults(&db).await;
    assert_eq!(told[..2], [renamed, taken]);
    assert!(told[2].ends_with("another table is public.sent now, and this one is public.was"), "{told:?}");
    db.run("select outbox.watch('jobs', 'jobs'), outbox.route('sent'), outbox.unwatch('children')").await;
    assert_eq!(faults(&db).await, [""; 0], "whoever has both watched means it");
}

#[tokio::test]
async fn children_by_inheritance_that_are_not_watched_are_told() {
    let db = Watched::new(&format!("{JOBS}; select outbox.watch('jobs', 'jobs')")).await;
    db.run("create table urgent (primary key (id)) inherits (jobs); create table most (primary key (id)) inherits (urgent)").await;
    let told = faults(&db).await;
    assert_eq!(
        told,
        ["most", "urgent"].map(|child| format!(
            "watch public.jobs jobs: rows of its child public.{child} are not seen: it has to be watched, too"
        ))
    );
    db.run("select outbox.watch('urgent', 'jobs'), outbox.watch('most', 'jobs')").await;
    assert_eq!(faults(&db).await, [""; 0]);
}

#[tokio::test]
async fn what_is_installed_is_told_while_somebody_has_locked_it_and_to_who_may_not_use_its_schema() {
    let (client, url) = fresh_outbox().await;
    let (role, other) = (servers::unique("owner"), connect(&url).await);
    client
        .batch_execute(&format!(
            "create schema closed; create table closed.p (id int primary key) partition by list (id);
             create table closed.p1 partition of closed.p for values in (1);
             select outbox.watch('closed.p', 'p'); create role \"{role}\";
             alter function outbox.installed() owner to \"{role}\";
             grant usage on schema outbox to \"{role}\"; grant select on outbox.watches, outbox.routes to \"{role}\";
             grant execute on all functions in schema outbox to \"{role}\""
        ))
        .await
        .unwrap();
    other.batch_execute("begin; lock table closed.p, closed.p1 in access exclusive mode").await.unwrap();
    client.batch_execute("set lock_timeout = 100").await.unwrap();
    let sql = "select kind || ' ' || relation_name from outbox.installed() where faults = '{}'";
    let told: String = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(told, "watch closed.p");
    client.batch_execute(&format!("drop owned by \"{role}\" cascade; drop role \"{role}\"")).await.unwrap();
}

#[tokio::test]
async fn a_route_whose_headers_another_collation_had_in_another_order_is_as_it_was() {
    let db = Watched::new(
        "create table sent (id int, aggregatetype text, aggregateid text, payload jsonb, a text, b text);
         select outbox.route('sent', headers => '{\"a\": \"A\", \"b\": \"B\"}')",
    )
    .await;
    let (before, after) = ("''A'', new.a::text, ''B'', new.b::text", "''B'', new.b::text, ''A'', new.a::text");
    let sql = format!(
        "update pg_proc set prosrc = replace(prosrc, '{before}', '{after}') where proname like 'route\\_%' and strpos(prosrc, '{before}') > 0"
    );
    assert_eq!(db.client.execute(&sql, &[]).await.unwrap(), 1);
    assert_eq!(faults(&db).await, [""; 0]);
}

#[tokio::test]
async fn a_table_watched_for_each_statement_that_became_a_partition_is_told() {
    let db = Watched::new(
        "create table whole (id int not null primary key) partition by list (id);
         create table part (id int not null primary key);
         select outbox.watch('part', 'part', each => 'statement');
         alter table whole attach partition part for values in (1)",
    )
    .await;
    let told = faults(&db).await;
    assert!(
        told.len() == 1 && told[0].contains("what is written through the table above public.part is not seen"),
        "{told:?}"
    );
}
