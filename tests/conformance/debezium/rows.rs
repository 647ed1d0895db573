//! Rows of many sorts, and what Debezium makes of each.

/// What `JsonConverter` sends of a payload where `table.expand.json.payload` is set. Ours is the payload as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expanded {
    /// The same JSON.
    Same,
    /// This JSON, which is not what the row has.
    Changed(&'static str),
    /// One string of JSON with the payload inside: it cannot be expanded.
    Quoted,
    /// `null`, where ours has no value.
    Null,
    /// Nothing ever again: the connector's task fails, and stops until a person takes the row out of its way.
    Stops,
}

/// One row: the table it is in, type and id of its aggregate, its payload.
pub(super) struct Row {
    pub(super) table: &'static str,
    pub(super) aggregate: (&'static str, Option<&'static str>),
    pub(super) payload: Option<&'static str>,
    pub(super) expanded: Expanded,
}

const fn row(
    table: &'static str,
    aggregate: (&'static str, Option<&'static str>),
    payload: Option<&'static str>,
    expanded: Expanded,
) -> Row {
    Row { table, aggregate, payload, expanded }
}

const ORDER: (&str, Option<&str>) = ("order", Some("o-1"));
const NOTE: (&str, Option<&str>) = ("note", Some("n"));

/// `orders` has payloads of jsonb, `notes` of text, `papers` of json; `picky` of jsonb, which no connector that expands can read.
pub(super) const ROWS: &[Row] = &[
    row("orders", ORDER, Some(r#"{"b": 1, "a": {"c": [true, false]}}"#), Expanded::Same),
    row("orders", ORDER, Some("{\"größe\": \"ß \u{1F980} \\n\\\"\", \"\u{65E5}\": \"\u{672C}\"}"), Expanded::Same),
    row("orders", ORDER, Some(r#"{ "z"  :1,"a":2 , "a": 3}"#), Expanded::Same),
    row(
        "orders",
        ORDER,
        Some(r#"{"l": 9007199254740993, "m": 9223372036854775807, "n": -12345678901}"#),
        Expanded::Same,
    ),
    row("orders", ORDER, Some(r#"{"a b": 1, "a-b": 2, "1": 3}"#), Expanded::Same),
    row("orders", ORDER, Some(r#"{"a": [{"x": 1}, {"x": 2}], "b": [[1], [2, 3]], "c": [null, 1]}"#), Expanded::Same),
    row("orders", ORDER, Some("{}"), Expanded::Same),
    row("orders", ("customer", Some("größe \"1\"")), Some(r#"{"e": {}}"#), Expanded::Same),
    row("orders", ("customer", Some("")), Some(r#"{"key": "empty"}"#), Expanded::Same),
    row("orders", ("customer", None), Some(r#"{"key": "none"}"#), Expanded::Same),
    // Digits are lost, members without a value, empty lists; unlike objects of a list become alike.
    row(
        "orders",
        ORDER,
        Some(r#"{"a": 1.50, "p": 3.14159265358979323846}"#),
        Expanded::Changed(r#"{"a":1.5,"p":3.141592653589793}"#),
    ),
    row("orders", ORDER, Some(r#"{"n": null, "a": 1}"#), Expanded::Changed(r#"{"a":1}"#)),
    row("orders", ORDER, Some(r#"{"e": [], "a": 1}"#), Expanded::Changed(r#"{"a":1}"#)),
    row(
        "orders",
        ORDER,
        Some(r#"{"a": [{"x": 1}, {"y": 2}]}"#),
        Expanded::Changed(r#"{"a":[{"x":1,"y":null},{"x":null,"y":2}]}"#),
    ),
    row("orders", ORDER, Some(r#"{"a": [1, "x"]}"#), Expanded::Quoted),
    row("orders", ORDER, Some(r#"{"a": [1, 2.5]}"#), Expanded::Quoted),
    row("orders", ORDER, Some(r#"{"a": [null, null]}"#), Expanded::Quoted),
    row("orders", ORDER, Some(r#"{"a": [[]]}"#), Expanded::Quoted),
    row("orders", ORDER, Some(r#"{"": 1}"#), Expanded::Quoted),
    row("orders", ORDER, Some(r#""text""#), Expanded::Quoted),
    row("orders", ORDER, Some("1.50"), Expanded::Quoted),
    row("orders", ORDER, Some("null"), Expanded::Quoted),
    row("orders", ORDER, None, Expanded::Null),
    row("notes", NOTE, Some(" {\"b\":1,\t\"a\" : 1.50}"), Expanded::Quoted),
    row("notes", NOTE, Some("{\"b\":1,\t\"a\" : \"x\"}"), Expanded::Same),
    row("notes", NOTE, Some("no JSON at all: \" \u{1F980} \\"), Expanded::Quoted),
    row("notes", NOTE, Some("{\"a\": broken"), Expanded::Quoted),
    row("notes", NOTE, Some(""), Expanded::Quoted),
    row("notes", NOTE, Some("  "), Expanded::Quoted),
    row("notes", NOTE, None, Expanded::Null),
    row("papers", ("paper", Some("p")), Some("{\"b\":1,  \"a\" : 15,\n \"b\": 2}"), Expanded::Same),
    row("papers", ("paper", Some("p")), Some(" {\"b\":1}"), Expanded::Quoted),
    row("picky", ("pick", Some("q")), Some("[1, 2]"), Expanded::Stops),
    row("picky", ("pick", Some("q")), Some(r#"[{"a": 1}, {"b": "x"}]"#), Expanded::Stops),
    row("picky", ("pick", Some("q")), Some(r#"{"big": 123456789012345678901234567890}"#), Expanded::Stops),
    row("picky", ("pick", Some("q")), Some(r#"{"huge": 1e400}"#), Expanded::Stops),
];

/// Types of aggregates, of which the topics are made.
pub(super) const AGGREGATES: [&str; 6] = ["order", "customer", "note", "paper", "pick", "many"];

/// Rows of one key that one statement inserts.
pub(super) const MANY: usize = 300;

/// The tables. Their columns beside Debezium's own become headers, by [`PLACEMENT`].
pub(super) const TABLES: &str = "
create type kind as enum ('big', 'small');
create table orders (
    id uuid primary key, aggregatetype varchar(255) not null, aggregateid varchar(255), type varchar(255), payload jsonb,
    tenant int, far bigint, is_new boolean, amount numeric(10, 2), fits kind, whom uuid, extra jsonb, at timestamptz,
    at_second timestamptz(0), at_milli timestamptz(3), local timestamp, local_second timestamp(0), local_milli timestamp(3), day date);
create table picky (like orders including indexes);
create table notes (like orders including indexes);
alter table notes alter payload type text;
create table papers (like orders including indexes);
alter table papers alter payload type json using payload::json;
create publication outbox for table orders, notes, papers, picky";

/// Columns that become headers, and how these are called.
pub(super) const PLACEMENT: [(&str, &str); 15] = [
    ("type", "eventType"),
    ("tenant", "tenant"),
    ("far", "far"),
    ("is_new", "isNew"),
    ("amount", "amount"),
    ("fits", "fits"),
    ("whom", "whom"),
    ("extra", "extra"),
    ("at", "at"),
    ("at_second", "atSecond"),
    ("at_milli", "atMilli"),
    ("local", "local"),
    ("local_second", "localSecond"),
    ("local_milli", "localMilli"),
    ("day", "day"),
];

/// What the additional columns of a row hold: of two rows in three nothing.
const COLUMNS: &str = "7, -9007199254740993, true, 12.50, 'small', '00000000-0000-7000-8000-0000000000aa', '{\"x\":  [1.0]}', \
    '2026-01-02T03:04:05.5+01', '2026-01-02T03:04:05Z', '2026-01-02T03:04:05.25Z', '2026-01-02T03:04:05.123456', \
    '2026-01-02T03:04:05', '2026-01-02T03:04:05.25', '2026-01-02'";

fn id(place: usize) -> String {
    format!("00000000-0000-7000-8000-{place:012x}")
}

/// The row with this id.
pub(super) fn row_of(id: &str) -> Option<&'static Row> {
    ROWS.get(usize::from_str_radix(id.rsplit_once('-').unwrap().1, 16).unwrap())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes all of it: each row by itself, rows that are taken back, updated or deleted, and very many at once.
pub(super) fn writing() -> String {
    let insert = |(place, row): (usize, &Row)| {
        let (aggregate, key) = row.aggregate;
        let (key, payload) = (key.map_or("null".to_owned(), quoted), row.payload.map_or("null".to_owned(), quoted));
        let columns = if place % 3 == 0 { format!(", {COLUMNS}") } else { String::new() };
        format!(
            "insert into {} values ('{}', '{aggregate}', {key}, 'sort {place}', {payload}{columns});",
            row.table,
            id(place)
        )
    };
    let mut all: Vec<_> = ROWS.iter().enumerate().map(insert).collect();
    let short = |place: usize, key: &str| {
        format!("insert into orders values ('{}', 'many', '{key}', null, '{{\"n\": {place}}}')", id(place))
    };
    // Deleted at once; taken back; taken back to a savepoint; changed and deleted later, which are no events.
    all.push(format!("begin; {}; delete from orders where aggregatetype = 'many'; commit;", short(0x1000, "d")));
    all.push(format!("begin; {}; rollback;", short(0x1001, "lost")));
    all.push(format!("begin; {}; savepoint s; {}; rollback to s; commit;", short(0x1002, "d"), short(0x1003, "lost")));
    all.push("update orders set type = 'changed'; delete from notes;".to_owned());
    all.push(format!(
        "insert into orders (id, aggregatetype, aggregateid, payload)
         select ('00000000-0000-7000-8000-' || lpad(to_hex(8192 + n), 12, '0'))::uuid, 'many', n % 7, jsonb_build_object('n', n)
           from generate_series(1, {MANY}) n;"
    ));
    all.join("\n")
}

/// How many messages become of [`writing`] from these tables.
pub(super) fn messages(with_picky: bool) -> usize {
    let rows = ROWS.iter().filter(|row| with_picky || row.table != "picky").count();
    rows + 2 + MANY
}
