//! What is refused, with the reason.

use super::{NOTHING, Watched};

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
        (
            "insert into t values ('y', 'z'); update t set b = null where a = 'y'",
            "22004",
            ["\"keys\" is null", "public.t(a, b)"],
        ),
    ] {
        let (said_code, said) = db.refused(&format!("begin; {sql}")).await;
        db.run("rollback").await;
        assert_eq!(said_code, code, "{sql}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{sql}: {said}");
    }
    db.run("alter table t disable trigger user; insert into t values ('old', null); alter table t enable trigger user")
        .await;
    assert!(db.refused("truncate t").await.1.contains("public.t(a, b)"));
    assert_eq!(db.changes().await, NOTHING);
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_the_reason() {
    let db = Watched::new(
        "create table t (id int primary key, \"Name\" text, d date, day date, f float8, stamp timestamptz);
         create table bare (id int); create view v as select * from t; create temp table temporary (id int primary key);
         create domain odd as int not null; create domain dated as date; create table o (id odd primary key, d dated);
         create table two (a int, b int, primary key (a, b)); create table maybe (id int unique);
         create table whole (id int primary key) partition by range (id);
         create table leaf partition of whole for values from (0) to (9);
         create table above (id int primary key); create table below (primary key (id)) inherits (above)",
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
        (
            "'t', 'x', array['ID']",
            "42703",
            "key names 'ID', which is no column of public.t; Did you mean 'id'? Its columns: id, Name",
        ),
        ("'t', 'x', 'id,Name'", "42703", "key names 'id,Name'"),
        ("'t', 'x', array[]::text[]", "22023", "key names no column"),
        ("'t', 'x', array['id', null]", "22004", "key holds a null"),
        ("'t', 'x', array['id', 'id']", "42701", "key names 'id' twice"),
        ("'t', 'x', columns => array['name']", "42703", "Did you mean 'Name'"),
        ("'t', 'x', ignore => array['missing']", "42703", "ignore names 'missing'"),
        ("'t', 'x', ignore => array['id']", "22023", "a column of the key cannot be ignored"),
        ("'t', 'x', ignore => array['d'], columns => array['f']", "22023", "columns and ignore"),
        ("'o', 'x', ignore => array['d']", "0A000", "'d' cannot be ignored, its type is a domain"),
        (
            "'t', 'x', array['id', 'd']",
            "0A000",
            "d, of type date, of public.t cannot be part of a key; How such a value",
        ),
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
        ("'t', 'x', each => 'transaction'", "22023", "each is 'row' or 'statement', not 'transaction'"),
        ("'t', 'x', each => null", "22023", "not NULL"),
        ("'t', 'x', 'id', parent => 'o', each => 'statement'", "0A000", "needs a unique key of public.t itself"),
        ("'t', 'x', lookup => 'select ($1).id', each => 'statement'", "0A000", "needs a unique key"),
        ("'bare', 'x', 'id', each => 'statement'", "0A000", "needs a unique key of public.bare itself"),
        ("'maybe', 'x', 'id', each => 'statement'", "0A000", "of columns that are not null"),
        ("'t', 'x', always => true, each => 'statement'", "0A000", "cannot be watched always; A replication applies"),
        ("'t', 'x', columns => array['d'], each => 'statement'", "0A000", "cannot be given with columns"),
        ("'whole', 'x', each => 'statement'", "0A000", "is not for partitions"),
        ("'leaf', 'x', each => 'statement'", "0A000", "is not for partitions"),
        ("'above', 'x', each => 'statement'", "0A000", "nor for tables that have or are children"),
        ("'below', 'x', each => 'statement'", "0A000", "Leave each out"),
    ] {
        let sql = format!("select outbox.watch({arguments})");
        let (said_code, said) = db.refused(&sql).await;
        assert!(said.contains(words), "{sql}: {said}");
        assert_eq!(said_code, code, "{sql}: {said}");
    }
    let left = "select count(*) from pg_trigger where tgname like 'outbox%'";
    assert_eq!(db.client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}
