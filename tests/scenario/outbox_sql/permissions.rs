//! Who may do what, and whose names are trusted.

use sync_core::adapter::postgres::migrate;
use tokio_postgres::Client;

use super::{events, number, refused, said, word};
use crate::support::postgres::{connect, fresh_database, fresh_outbox};
use crate::support::servers;

/// A role that owns nothing.
pub(super) async fn new_role(client: &Client) -> String {
    let role = servers::unique("writer");
    client.batch_execute(&format!("create role \"{role}\"; grant all on schema public to \"{role}\"")).await.unwrap();
    role
}

#[tokio::test]
async fn an_application_needs_two_grants_to_emit_and_none_for_watched_tables() {
    let (client, _) = fresh_outbox().await;
    let role = new_role(&client).await;
    client
        .batch_execute(&format!(
            "create table t (id int primary key, parent int); create table p (id int primary key);
             select outbox.watch('t', 'rows', ignore => array['parent']);
             select outbox.watch('t', 'parents', key => 'parent', parent => 'p');
             select outbox.watch('t', 'looked', lookup => 'select id from public.p where id = ($1).parent');
             insert into p values (1);
             grant select, insert, update, delete, truncate on t to \"{role}\"; set role \"{role}\""
        ))
        .await
        .unwrap();
    client
        .batch_execute(
            "insert into t values (1, 1); update t set id = 2; delete from t; insert into t values (3); truncate t",
        )
        .await
        .unwrap();
    assert_eq!(refused(&client, "select outbox.emit('jobs', 'a')").await.0, "42501");
    client
        .batch_execute(&format!("reset role; select outbox.grant_writer('{role}'); set role \"{role}\""))
        .await
        .unwrap();
    client
        .batch_execute("select outbox.emit('jobs', outbox.key('a', 'b')), outbox.emit_many('jobs', array['a'])")
        .await
        .unwrap();
    for forbidden in [
        "select * from outbox.events",
        "insert into outbox.events (topic, key, version, action) values ('t', 'k', 1, 'INDEX')",
        "update outbox.versions set version = 0",
        "select nextval('outbox.version_seq')",
        "select outbox.append_many('two words', array['a'], 'INDEX')",
        "select outbox.watch('t', 'mine')",
        "select outbox.unwatch('t')",
        "select * from outbox.adopt_history()",
        "select outbox.maintain()",
        "create table outbox.mine ()",
    ] {
        assert_eq!(refused(&client, forbidden).await.0, "42501", "{forbidden}");
    }
    client.batch_execute("reset role").await.unwrap();
    let topics: Vec<_> = events(&client).await.into_iter().map(|(topic, ..)| topic).collect();
    for topic in ["rows", "parents", "looked", "jobs"] {
        assert!(topics.iter().any(|t| t == topic), "{topic}: {topics:?}");
    }
    let clean = format!("reset role; drop owned by \"{role}\"; drop role \"{role}\"");
    client.batch_execute(&clean).await.unwrap();
}

#[tokio::test]
async fn whoever_may_call_for_the_upkeep_does_it_and_owns_nothing() {
    let (client, _) = fresh_outbox().await;
    let role = new_role(&client).await;
    client
        .batch_execute(
            "create table outbox.events_20200101 partition of outbox.events
                 for values from ('2020-01-01 00:00 UTC') to ('2020-01-02 00:00 UTC');
             insert into outbox.versions (topic, key, version) values ('jobs', 'gone', 7);
             insert into outbox.events (topic, key, version, action, created_at)
             values ('jobs', 'gone', 7, 'DELETE', '2020-01-01 12:00 UTC')",
        )
        .await
        .unwrap();
    client
        .batch_execute(&format!(
            "insert into outbox.subscriptions (name, lo)
             select 'search', x || ':' || x || ':' from pg_snapshot_xmax(pg_current_snapshot()) x;
             grant usage on schema outbox to \"{role}\";
             grant execute on function outbox.maintain(int), outbox.purge_versions(interval, int), outbox.empty_leaf(interval),
                 outbox.agree_history(int, text), outbox.raise_epoch(int) to \"{role}\";
             set role \"{role}\"; set search_path = pg_temp, public; set timezone = 'Asia/Tokyo'"
        ))
        .await
        .unwrap();
    assert_eq!(number(&client, "select outbox.maintain(9)").await, 2);
    assert_eq!(number(&client, "select outbox.purge_versions(interval '7 days')").await, 1);
    let emptied = "select outbox.empty_leaf(interval '7 days')";
    for _ in ["emptied", "removed"] {
        assert_eq!(word(&client, emptied).await, "events_20200101");
    }
    assert_eq!(word(&client, "select verdict from outbox.agree_history(null, null)").await, "first");
    assert_eq!(number(&client, "select outbox.raise_epoch(5)").await, 5);
    for forbidden in [
        "delete from outbox.versions",
        "update outbox.subscriptions set lease_term = 0",
        "insert into outbox.history select 9, gen_random_uuid(), 1, 1, 1, 1",
        "create table outbox.events_20200102 (like outbox.events)",
    ] {
        assert_eq!(refused(&client, forbidden).await.0, "42501", "{forbidden}");
    }
    client.batch_execute("reset role; reset search_path").await.unwrap();
    let theirs = format!("select count(*) from pg_class where relowner = '\"{role}\"'::regrole");
    assert_eq!(number(&client, &theirs).await, 0);
    client.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
}

/// Everything an application could put in the way of a function that runs with its owner's rights.
const HOSTILE: &str = r"
create schema evil;
create function evil.fail(anycompatible) returns boolean language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.fail(text, text) returns boolean language plpgsql as $$ begin raise 'hostile'; end $$;
create operator evil.= (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.<> (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.< (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.!~ (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.|| (leftarg = text, rightarg = text, function = evil.fail);
create function evil.nextval(regclass) returns bigint language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.nextval(text) returns bigint language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.clock_timestamp() returns timestamptz language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.octet_length(text) returns int language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.replace(text, text, text) returns text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.current_setting(text, boolean) returns text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.pg_notify(text, text) returns void language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.unnest(text[]) returns setof text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.jsonb_typeof(jsonb) returns text language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.jsonb_populate_record(anyelement, jsonb) returns anyelement
    language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.pg_try_advisory_xact_lock_shared(int, int) returns boolean
    language plpgsql as $$ begin raise 'hostile'; end $$;
create function evil.count_me() returns trigger language plpgsql as $$ begin raise 'hostile'; end $$;
grant usage on schema evil to public;
";

/// Tables and types of the session come first unless they are put last.
const HOSTILE_SESSION: &str = r"
create domain pg_temp.text as pg_catalog.text check (false);
create domain pg_temp.bigint as pg_catalog.int8 check (false);
create temp table versions (topic int); create temp table events (topic int); create temp table p (id int);
create temp table doorbells (id int); create temp table pg_class (id int); create temp table pg_trigger (id int);
set search_path = evil, pg_temp, public, pg_catalog;
";

#[tokio::test]
async fn nothing_in_the_callers_search_path_is_called_with_the_owners_rights() {
    let (client, _) = fresh_outbox().await;
    let role = new_role(&client).await;
    client
        .batch_execute(&format!(
            "create table public.t (a text, b text, c text, parent int, primary key (a, b));
             create table public.p (id int primary key);
             create table public.o (id text, aggregatetype text, aggregateid text, payload text, at timestamptz);
             select outbox.route('o', headers => '{{\"at\": \"at\"}}');
             insert into outbox.subscriptions (name, topics) values ('s', '{{jobs,rows,outbox.event.a}}');
             select outbox.watch('t', 'rows', ignore => array['c']), outbox.watch('t', 'listed', columns => array['c']),
                    outbox.watch('t', 'parents', key => 'parent', parent => 'p'),
                    outbox.watch('t', 'looked', lookup => 'select id from public.p where id = ($1).parent');
             insert into p values (1); grant all on t, p, o to \"{role}\"; select outbox.grant_writer('{role}');
             grant temporary on database \"{}\" to \"{role}\"; {HOSTILE}",
            word(&client, "current_database()").await
        ))
        .await
        .unwrap();
    client.batch_execute(&format!("set role \"{role}\"; {HOSTILE_SESSION}")).await.unwrap();
    // The trap is set: unprotected, the very same names are the hostile ones.
    for trap in
        ["select nextval('x'::pg_catalog.text)", "select octet_length('x'::pg_catalog.text)", "select 'x'::text"]
    {
        assert!(client.batch_execute(trap).await.is_err(), "{trap}");
    }
    let writes = "
        select outbox.emit('jobs', outbox.key('a', 'b'), headers => '{\"h\": \"x\"}');
        select outbox.emit_many('jobs', array['a', 'b']);
        insert into public.t values ('x:', 'y', 'z', 1);
        update public.t set c = 'other';
        update public.t set b = 'moved', parent = null;
        update public.t set a = 'moved', parent = 1;
        delete from public.t;
        insert into public.t values ('x', 'y', 'z', 1);
        truncate public.t;
        insert into public.o values ('1', 'a', 'k', 'text', pg_catalog.clock_timestamp()), ('2', 'a', null, 'text', null)";
    for statement in writes.split(';') {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {}", said(&error).1));
    }
    client.batch_execute("reset role; set search_path = pg_catalog, pg_temp").await.unwrap();
    assert_eq!(number(&client, "select count(*) from outbox.events where topic = 'rows'").await, 8);
    assert_eq!(number(&client, "select count(*) from outbox.events where topic = 'outbox.event.a'").await, 2);
    client.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
}

#[tokio::test]
async fn nothing_but_what_was_migrated_is_open_to_everybody_and_no_function_trusts_its_callers_path() {
    let (client, _) = fresh_outbox().await;
    client.batch_execute("create table t (id int primary key); select outbox.watch('t', 'rows')").await.unwrap();
    let open = "select coalesce(string_agg(what, ', '), '') from (
            select p.oid::regprocedure::text from pg_proc p
            where p.pronamespace = 'outbox'::regnamespace and has_function_privilege('public', p.oid, 'execute')
            union all select c.oid::regclass::text from pg_class c
            where c.relnamespace = 'outbox'::regnamespace
              and (c.relkind in ('r', 'p') and has_table_privilege('public', c.oid, 'select, insert, update, delete')
                   or c.relkind = 'S' and has_sequence_privilege('public', c.oid, 'usage, select, update'))
            union all select 'schema' where has_schema_privilege('public', 'outbox', 'usage, create')
        ) as opened (what)";
    assert_eq!(word(&client, open).await, "outbox.migrations");
    let changed = "select has_table_privilege('public', 'outbox.migrations', 'insert, update, delete, truncate')";
    assert_eq!(word(&client, changed).await, "false");
    // Those that are inlined into other queries, and so can have no setting, are written with qualified names only.
    let trusting = "select coalesce(string_agg(p.proname, ', ' order by p.proname), '') from pg_proc p
         where p.pronamespace = 'outbox'::regnamespace
           and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)";
    assert_eq!(word(&client, trusting).await, "key, must_ring, wake_class, words");
}

#[tokio::test]
async fn people_find_an_explanation_beside_each_table_and_each_function_meant_for_them() {
    let (client, _) = fresh_outbox().await;
    let silent = "select coalesce(string_agg(c.relname, ', '), '') from pg_class c
         where c.relnamespace = 'outbox'::regnamespace and c.relkind in ('r', 'p') and c.relname <> 'migrations'
           and obj_description(c.oid, 'pg_class') is null";
    assert_eq!(word(&client, silent).await, "");
    for function in [
        "emit",
        "emit_many",
        "key",
        "watch",
        "unwatch",
        "maintain",
        "grant_writer",
        "wake_class",
        "current_history",
        "note_history",
        "adopt_history",
        "grant_watcher",
        "route",
        "unroute",
        "emit_again",
    ] {
        let described = format!(
            "select count(*) > 0 and bool_and(obj_description(p.oid, 'pg_proc') is not null) from pg_proc p
             where p.pronamespace = 'outbox'::regnamespace and p.proname = '{function}'"
        );
        assert_eq!(word(&client, &described).await, "true", "{function}");
    }
}

/// A database whose outbox belongs to a role that is no superuser: a superuser's connection, the owner's, and its name.
pub(super) async fn owned_by_nobody_special() -> (Client, Client, String) {
    let (admin, url) = fresh_database().await;
    let role = servers::unique("owner");
    let database = word(&admin, "current_database()").await;
    admin
        .batch_execute(&format!(
            "create role \"{role}\" login password 'owner'; grant all on database \"{database}\" to \"{role}\";
             grant all on schema public to \"{role}\""
        ))
        .await
        .unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    let mut owner = connect(&format!("{scheme}://{role}:owner@{host}")).await;
    migrate(&mut owner).await.unwrap();
    (admin, owner, role)
}

#[tokio::test]
async fn an_owner_who_is_no_superuser_can_do_everything() {
    let (admin, owner, role) = owned_by_nobody_special().await;
    assert_eq!(word(&owner, "select verdict from outbox.note_history()").await, "first");
    owner
        .batch_execute(
            "create table t (id int primary key); select outbox.watch('t', 'rows', always => true);
             insert into t values (1); truncate t; select outbox.emit('jobs', 'a'); select outbox.maintain(9);
             select * from outbox.adopt_history(); select outbox.unwatch('t')",
        )
        .await
        .unwrap();
    assert_eq!(events(&owner).await.len(), 3);
    drop(owner);
    admin.batch_execute(&format!("drop owned by \"{role}\" cascade; drop role \"{role}\"")).await.unwrap();
}

#[tokio::test]
async fn a_watch_goes_on_when_whoever_called_for_it_is_no_member_of_the_owner_any_more() {
    let (admin, owner, role) = owned_by_nobody_special().await;
    let member = new_role(&admin).await;
    admin
        .batch_execute(&format!(
            "grant \"{role}\" to \"{member}\"; set role \"{member}\";
             create table t (id int primary key, p int); create table p (id int primary key);
             create table s (id int primary key, v int);
             create table whole (id int primary key) partition by range (id);
             create table part partition of whole for values from (0) to (100);
             alter table p enable row level security; create policy mine on p using (current_user = '{member}');
             select outbox.watch('t', 'rows'); select outbox.watch('s', 'statements', each => 'statement');
             select outbox.watch('t', 'parents', key => 'p', parent => 'p');
             select outbox.watch('t', 'looked', lookup => 'select id from public.p where id = ($1).p');
             select outbox.watch('whole', 'parts')"
        ))
        .await
        .unwrap();
    let changes = "insert into p values (1), (2); insert into t values (1, 1); update t set p = 2; update t set id = 7;
         delete from t; insert into t values (2, 1); truncate t;
         insert into s select i, i from generate_series(1, 9) i; update s set v = 0; delete from s; truncate s;
         insert into whole values (1), (2); delete from whole where id = 1; truncate part; insert into whole values (3);
         truncate whole";
    let counted = "select string_agg(topic || ' ' || count, ', ' order by topic)
         from (select topic, count(*) from outbox.events group by topic) as counted";
    // A relay that listens is rung for by whoever writes.
    owner
        .batch_execute(
            "insert into outbox.subscriptions (name, lo)
             select 'search', x || ':' || x || ':' from pg_snapshot_xmax(pg_current_snapshot()) x",
        )
        .await
        .unwrap();
    admin.batch_execute(changes).await.unwrap();
    let as_member = word(&admin, counted).await;
    admin
        .batch_execute(&format!(
            "reset role; truncate p; delete from outbox.events; revoke \"{role}\" from \"{member}\"; set role \"{member}\"; {changes};
             reset role"
        ))
        .await
        .unwrap();
    assert_eq!(word(&admin, counted).await, as_member);
    assert_eq!(as_member, "looked 7, parents 7, parts 6, rows 7, statements 27");
    // The owner takes the watch away.
    owner.batch_execute("select outbox.unwatch(relation) from outbox.watches").await.unwrap();
    drop(owner);
    for role in [member, role] {
        admin.batch_execute(&format!("drop owned by \"{role}\" cascade; drop role \"{role}\"")).await.unwrap();
    }
}
