//! The indexes that make searching the rows quick: which would help, and which are there.

use std::collections::BTreeMap;

use tokio_postgres::Column;
use tokio_postgres::types::{Kind as TypeKind, Type};

use super::PostgresSearcher;
use super::columns::{SearchColumns, quoted};
use crate::adapter::postgres::connect::Timed;
use crate::adapter::postgres::error::from_postgres;
use crate::error::Error;
use crate::query::{FieldKind, Fields};

/// What brings trigrams.
const TRIGRAMS: &str = "create extension if not exists pg_trgm;";

/// The longest name PostgreSQL keeps, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// An index that makes searches quick.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchIndex {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Its table, as SQL names it.
    pub table: String,
    /// What creates it, beside writers and outside of a transaction.
    pub sql: String,
    /// What removes it, whether it can be used or not.
    pub removal: String,
    /// What has to be run before.
    pub before: Option<&'static str>,
    /// One of that name is there and can be used.
    pub is_there: bool,
}

/// The indexes of a projection's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchIndexes {
    /// Those that would help.
    pub indexes: Vec<SearchIndex>,
    /// Fields for which none can be made here, and why.
    pub without: Vec<(String, &'static str)>,
}

/// Where a column of the projection comes from.
struct Origin {
    table: u32,
    column: String,
    sql_type: Type,
}

const EXPRESSION: &str =
    "it is no plain column of a table, but computed; an index on that expression has to be made by hand";

const ENUMERATED: &str =
    "it is an enumeration, whose text PostgreSQL does not index; filters of it are looked for in every row";

const SEVERAL: &str =
    "the text fields are of several tables; together they cannot be indexed, and words are looked for in every row";

/// Names and kinds of tables, their columns, and the indexes in the same schemas.
const TABLES: &str = "
select c.oid, format('%s.%I', c.relnamespace::regnamespace, c.relname), c.relname::text, c.relkind::text, a.attnum, a.attname::text, c.relnamespace::regnamespace::text
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
 where c.oid = any ($1)";

const USABLE: &str = "
select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
 where x.indrelid = any ($1) and x.indisvalid";

impl PostgresSearcher {
    /// Creates an index beside writers, however long it takes. What an earlier try that was ended has left is removed first.
    /// Dropped half-way, PostgreSQL goes on with it, and may leave an index that cannot be used.
    ///
    /// # Errors
    /// `Configuration` when it cannot be made of what the table holds; `Unavailable`, `Denied`, `Contract`.
    pub async fn create(&self, index: &SearchIndex) -> Result<(), Error> {
        let doing = format!("search-indexes: creating {}", index.name);
        let statements = index.before.into_iter().chain([index.removal.as_str(), index.sql.as_str()]);
        self.patiently(&doing, statements).await
    }

    /// Looks at what a table holds: what is on expressions has statistics only then.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn analyze(&self, table: &str) -> Result<(), Error> {
        let statement = format!("analyze {table}");
        self.patiently(&format!("search-indexes: looking at {table}"), [statement.as_str()]).await
    }

    /// On a connection of its own, without a limit.
    async fn patiently(&self, doing: &str, statements: impl IntoIterator<Item = &str>) -> Result<(), Error> {
        let session = self.servers.primary().database.session().await?;
        let client = session.client.client().map_err(|failure| from_postgres(doing, failure))?;
        for statement in ["set statement_timeout = 0"].into_iter().chain(statements) {
            client.batch_execute(statement).await.map_err(|error| from_postgres(doing, error))?;
        }
        Ok(())
    }

    /// The indexes that would make searching these fields quick, as the primary has them or not. Changes nothing.
    ///
    /// # Errors
    /// `Configuration` when the projection lacks a field; `Unavailable`, `Denied`.
    pub async fn indexes(&self) -> Result<SearchIndexes, Error> {
        let client = self.servers.primary().database.timed().await?;
        let columns = self.columns(&client).await?;
        let failed = |error| from_postgres(format!("indexes.{}.search", self.table.index), error);
        let probe =
            client.prepare(&format!("select * from (\n{}\n) as p limit 0", self.table.sql)).await.map_err(failed)?;
        let oids: Vec<u32> = probe.columns().iter().filter_map(Column::table_oid).collect();
        let tables = Tables::read(&client, &oids).await?;
        Ok(Planner { fields: &self.fields, columns: &columns, tables, probe: probe.columns() }.plan())
    }
}

struct SourceTable {
    /// As SQL names it.
    name: String,
    schema: String,
    bare: String,
    is_partitioned: bool,
    is_plain: bool,
    columns: BTreeMap<i16, String>,
}

struct Tables {
    known: BTreeMap<u32, SourceTable>,
    usable: Vec<String>,
}

impl Tables {
    async fn read(client: &Timed, oids: &[u32]) -> Result<Self, Error> {
        let failed = |error| from_postgres("looking for indexes", error);
        let mut known: BTreeMap<u32, SourceTable> = BTreeMap::new();
        for row in client.query(TABLES, &[&oids]).await.map_err(failed)? {
            let kind: String = row.get(3);
            let table = known.entry(row.get(0)).or_insert_with(|| SourceTable {
                name: row.get(1),
                schema: row.get(6),
                bare: row.get(2),
                is_partitioned: kind == "p",
                is_plain: ["r", "p", "m"].contains(&kind.as_str()),
                columns: BTreeMap::new(),
            });
            table.columns.insert(row.get(4), row.get(5));
        }
        let usable = client.query(USABLE, &[&oids]).await.map_err(failed)?;
        Ok(Self { known, usable: usable.iter().map(|row| row.get(0)).collect() })
    }
}

struct Planner<'a> {
    fields: &'a Fields,
    columns: &'a SearchColumns,
    tables: Tables,
    probe: &'a [Column],
}

impl Planner<'_> {
    fn plan(&self) -> SearchIndexes {
        let mut planned = SearchIndexes::default();
        self.words(&mut planned);
        let mut patterns: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (name, field) in self.fields.filterable() {
            let is_key = name == self.fields.key();
            let Some(origin) = self.origin(if is_key { "key" } else { name }) else {
                planned.without.push((name.clone(), EXPRESSION));
                continue;
            };
            let element =
                if let TypeKind::Array(element) = origin.sql_type.kind() { element } else { &origin.sql_type };
            let is_enumeration = matches!(element.kind(), TypeKind::Enum(_));
            if is_enumeration {
                planned.without.push((name.clone(), ENUMERATED));
                continue;
            }
            let column = quoted(&origin.column);
            let Some(comparable) = self.columns.others.get(name) else { continue };
            let own = |sql: &str| {
                sql.replace(&format!("p.{}", if is_key { "key".to_owned() } else { quoted(name) }), &column)
            };
            let sql = own(&comparable.sql);
            if field.is_many {
                let definition = format!("gin (({sql}))");
                planned.indexes.extend(self.index(
                    origin.table,
                    name,
                    &format!("{name}: one of its values"),
                    &definition,
                ));
                continue;
            }
            // The index of the primary key does it.
            if !(is_key && comparable.is_uuid) {
                let beside = if is_key { String::new() } else { self.key_of(origin.table) };
                let purpose = format!("{name}: values, ranges and order");
                planned.indexes.extend(self.index(origin.table, name, &purpose, &format!("btree (({sql}){beside})")));
            }
            if field.kind == FieldKind::Keyword && !comparable.is_uuid {
                patterns.entry(origin.table).or_default().push(format!("({sql}) gin_trgm_ops"));
            }
        }
        for (table, columns) in patterns {
            let definition = format!("gin ({})", columns.join(", "));
            planned.indexes.extend(self.index(table, "patterns", "patterns such as web-*", &definition));
        }
        planned
    }

    /// All words of all text fields.
    fn words(&self, planned: &mut SearchIndexes) {
        let Some(words) = &self.columns.tsvector else { return };
        let origins: Option<Vec<_>> = self.fields.text().iter().map(|field| self.origin(&field.name)).collect();
        let Some(origins) = origins else {
            planned.without.push(("text".to_owned(), EXPRESSION));
            return;
        };
        let Some(table) = origins.first().map(|origin| origin.table) else { return };
        if origins.iter().any(|origin| origin.table != table) {
            planned.without.push(("text".to_owned(), SEVERAL));
            return;
        }
        let mut sql = words.clone();
        for (field, origin) in self.fields.text().iter().zip(&origins) {
            sql = sql.replace(&format!("p.{}", quoted(&field.name)), &quoted(&origin.column));
        }
        planned.indexes.extend(self.index(table, "words", "words", &format!("gin ({sql})")));
    }

    /// The key behind another column, where it is of the same table: those with equal values are ordered by it.
    fn key_of(&self, table: u32) -> String {
        let Some(origin) = self.origin("key").filter(|origin| origin.table == table) else { return String::new() };
        let order = self.columns.key.sql.replace("p.key", &quoted(&origin.column));
        format!(", ({order})")
    }

    fn origin(&self, name: &str) -> Option<Origin> {
        let column = self.probe.iter().find(|column| column.name() == name)?;
        let table = column.table_oid()?;
        let known = self.tables.known.get(&table).filter(|table| table.is_plain)?;
        let own = known.columns.get(&column.column_id()?)?;
        Some(Origin { table, column: own.clone(), sql_type: column.type_().clone() })
    }

    fn index(&self, table: u32, what: &str, purpose: &str, definition: &str) -> Option<SearchIndex> {
        let table = self.tables.known.get(&table)?;
        let name = name(&format!("search_{}_{}", table.bare, what.replace('.', "_")), &table.name, definition);
        // Of a partitioned table it is made in one go, and writers wait.
        let how = if table.is_partitioned { "" } else { "concurrently " };
        let sql = format!("create index {how}if not exists {} on {} using {definition};", quoted(&name), table.name);
        let is_there = self.tables.usable.contains(&name);
        let removal = format!("drop index {how}if exists {}.{};", table.schema, quoted(&name));
        let before = definition.contains("gin_trgm_ops").then_some(TRIGRAMS);
        Some(SearchIndex {
            name,
            purpose: purpose.to_owned(),
            table: table.name.clone(),
            removal,
            sql,
            before,
            is_there,
        })
    }
}

/// A name that says what it is of, and is another one for every other definition.
fn name(what: &str, table: &str, definition: &str) -> String {
    // FNV-1a: the same wherever and whenever it is asked for.
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = table.bytes().chain(definition.bytes()).fold(0x811c_9dc5, step);
    let mut name = what.to_owned();
    while name.len() > MAX_NAME_BYTES - 9 {
        name.pop();
    }
    format!("{name}_{hash:08x}")
}
