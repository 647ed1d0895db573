//! The columns a projection has beside its document, and what each is worth for comparing.

use std::collections::BTreeMap;

use tokio_postgres::Column;
use tokio_postgres::types::{Kind as TypeKind, Type};

use super::rows::SearchedRows;
use crate::adapter::postgres::connect::Timed;
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::query::{Field, FieldKind, Fields};

/// A column, in rows called `p`.
#[derive(Clone, Debug)]
pub(super) struct SearchColumn {
    /// Equal where the index finds it equal, and ordered as it orders it: text by its bytes. Whatever helps to find or to
    /// order it has to be an index on just this.
    pub(super) sql: String,
    pub(super) is_many: bool,
    /// Texts are compared with it as UUIDs, whose order is that of their texts: so the key's own index can be used.
    pub(super) is_uuid: bool,
}

/// What the index holds under the same names.
#[derive(Clone, Debug)]
pub(super) struct SearchColumns {
    pub(super) key: SearchColumn,
    /// By field, the key's too.
    pub(super) others: BTreeMap<String, SearchColumn>,
    /// All words of all text fields, each word labelled with its field's weight; none without such fields.
    pub(super) tsvector: Option<String>,
    /// The words of each text field.
    pub(super) tsvectors: Vec<String>,
    /// Whether a row may have no document, and is not found then.
    pub(super) may_lack_document: bool,
    /// The weights behind the labels, as `ts_rank` takes them.
    pub(super) weights: [f32; 4],
}

/// Text in SQL.
pub(super) fn literal(text: &str) -> String {
    // Read alike whatever `standard_conforming_strings` says.
    let escape = if text.contains('\\') { " E" } else { "" };
    format!("{escape}'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl SearchColumns {
    /// Finds out which columns the projection has, by preparing it.
    pub(super) async fn read(rows: &SearchedRows, fields: &Fields, client: &Timed) -> Result<Self, Error> {
        let SearchedRows { index, sql, regconfig, .. } = rows;
        let unknown = |error| {
            let what = "`select cfgname from pg_ts_config` lists what there is";
            from_postgres(format!("indexes.{index}.search.language: {what}"), error)
        };
        client.prepare(&format!("select {regconfig}")).await.map_err(unknown)?;
        let failed = |error| from_postgres(format!("indexes.{index}.projection failed"), error);
        let probe = client.prepare(&format!("select * from (\n{sql}\n) as p limit 0")).await.map_err(failed)?;
        let explain = format!("explain (verbose, format json) select p.document from (\n{sql}\n) as p");
        let plan = client.query_one(explain.as_str(), &[]).await.map_err(failed)?;
        let may_lack_document = !is_always_there(&plan.get(0));
        Self::of(rows, probe.columns(), fields, may_lack_document)
    }

    fn of(
        SearchedRows { index, regconfig, .. }: &SearchedRows,
        columns: &[Column],
        fields: &Fields,
        may_lack_document: bool,
    ) -> Result<Self, Error> {
        let wrong = |what: String| Error::new(ErrorKind::Configuration, format!("indexes.{index}.search: {what}"));
        let column = |name: &str| {
            columns.iter().find(|column| column.name() == name).ok_or_else(|| {
                wrong(format!(
                    "{name} is not among the columns of indexes.{index}.projection; add it there beside key and document, as {}",
                    quoted(name)
                ))
            })
        };
        let key = key(column("key")?.type_());
        let mut others = BTreeMap::new();
        for (name, field) in fields.filterable() {
            let comparable = if name == fields.key() {
                key.clone()
            } else {
                let column = column(name)?;
                comparable(*field, column.type_(), &format!("p.{}", quoted(name))).ok_or_else(|| {
                    wrong(format!(
                        "{name}: the column is of type {}, {}",
                        column.type_(),
                        fitting(*field, column.type_())
                    ))
                })?
            };
            others.insert(name.clone(), comparable);
        }
        let (labels, weights) = labels(fields);
        let mut tsvectors = Vec::new();
        for field in fields.text() {
            let column = column(&field.name)?;
            let name = format!("p.{}", quoted(&field.name));
            let text = if is_text(column.type_()) { name } else { format!("{name}::text") };
            tsvectors.push(format!("to_tsvector({regconfig}, outbox.words(coalesce({text}, '')))"));
        }
        let labelled = tsvectors.iter().zip(labels).map(|(words, label)| format!("setweight({words}, '{label}')"));
        let labelled: Vec<_> = labelled.collect();
        let tsvector = (!labelled.is_empty()).then(|| format!("({})", labelled.join(" || ")));
        Ok(Self { key, others, tsvector, tsvectors, may_lack_document, weights })
    }
}

pub(super) fn is_text(sql_type: &Type) -> bool {
    matches!(*sql_type, Type::TEXT | Type::VARCHAR)
}

/// Whether a plan's document is made by a function that always makes one. Otherwise each row's has to be made to know, with
/// all that is joined for it.
fn is_always_there(plan: &serde_json::Value) -> bool {
    let output = plan.pointer("/0/Plan/Output/0").and_then(serde_json::Value::as_str).unwrap_or_default();
    let call = output.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(output);
    let made = ["jsonb_build_object(", "json_build_object("].iter().find_map(|function| call.strip_prefix(function));
    made.is_some_and(closes_at_its_end)
}

/// Whether what was opened before is closed by the last character and not earlier. What stands in quotes does not count.
fn closes_at_its_end(arguments: &str) -> bool {
    let (mut depth, mut quote, mut closed_at) = (1_usize, None, None);
    for (at, c) in arguments.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    closed_at = Some(at);
                    break;
                }
            }
            (Some(_) | None, _) => {}
        }
    }
    closed_at.is_some_and(|at| at + 1 == arguments.len())
}

fn key(sql_type: &Type) -> SearchColumn {
    let is_uuid = *sql_type == Type::UUID;
    let sql = match *sql_type {
        Type::UUID => "p.key",
        Type::TEXT | Type::VARCHAR => "p.key collate \"C\"",
        _ => "p.key::text collate \"C\"",
    };
    SearchColumn { sql: sql.to_owned(), is_many: false, is_uuid }
}

/// What is compared with values of the field; `None` when it cannot be.
fn comparable(field: Field, sql_type: &Type, name: &str) -> Option<SearchColumn> {
    let sql = cast(field, sql_type, name)?;
    let is_keyword = field.kind == FieldKind::Keyword && !field.is_many;
    let sql = if is_keyword { format!("{sql} collate \"C\"") } else { sql };
    Some(SearchColumn { sql, is_many: field.is_many, is_uuid: false })
}

fn cast(field: Field, sql_type: &Type, name: &str) -> Option<String> {
    let element = if let TypeKind::Array(element) = sql_type.kind() { Some(element) } else { None };
    if field.is_many != element.is_some() || !is_comparable(field.kind, element.unwrap_or(sql_type)) {
        return None;
    }
    Some(match element {
        Some(element) => cast_array(field.kind, element, name),
        None => cast_value(field.kind, sql_type, name),
    })
}

/// Whether values of this type are compared as the index compares them.
fn is_comparable(kind: FieldKind, sql_type: &Type) -> bool {
    match kind {
        FieldKind::Keyword => has_text(sql_type),
        // Text may be no number: that is known too late, in the middle of a search.
        FieldKind::Integer | FieldKind::Long | FieldKind::Double => is_number(sql_type),
        FieldKind::Date => matches!(*sql_type, Type::TIMESTAMPTZ | Type::TIMESTAMP | Type::DATE),
        FieldKind::Boolean => *sql_type == Type::BOOL,
    }
}

fn cast_array(kind: FieldKind, element: &Type, name: &str) -> String {
    let wanted = match kind {
        FieldKind::Keyword => Type::TEXT,
        FieldKind::Integer | FieldKind::Long => Type::INT8,
        FieldKind::Double => Type::FLOAT8,
        FieldKind::Date | FieldKind::Boolean => return name.to_owned(),
    };
    if *element == wanted { name.to_owned() } else { format!("{name}::{wanted}[]") }
}

fn cast_value(kind: FieldKind, sql_type: &Type, name: &str) -> String {
    let cast = |to: &str, fits: bool| if fits { name.to_owned() } else { format!("{name}::{to}") };
    match kind {
        FieldKind::Keyword => cast("text", is_text(sql_type)),
        FieldKind::Integer | FieldKind::Long => cast("int8", matches!(*sql_type, Type::INT2 | Type::INT4 | Type::INT8)),
        FieldKind::Double => cast("float8", *sql_type == Type::FLOAT8),
        FieldKind::Date => match *sql_type {
            Type::TIMESTAMP => format!("({name} at time zone 'UTC')"),
            Type::DATE => format!("({name}::timestamp at time zone 'UTC')"),
            _ => name.to_owned(),
        },
        FieldKind::Boolean => name.to_owned(),
    }
}

fn is_number(sql_type: &Type) -> bool {
    matches!(*sql_type, Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC)
}

/// Whether its text is what a document has of it: of an address or a time it is not.
fn has_text(sql_type: &Type) -> bool {
    is_text(sql_type)
        || matches!(*sql_type, Type::UUID | Type::NAME | Type::INT2 | Type::INT4 | Type::INT8)
        || matches!(sql_type.kind(), TypeKind::Enum(_))
}

fn fitting(field: Field, sql_type: &Type) -> &'static str {
    match (field.is_many, matches!(sql_type.kind(), TypeKind::Array(_))) {
        (true, false) => "but [] behind the name says that it has several values: an array",
        (false, true) => "but an array has [] behind its name in `fields`",
        (true, true) | (false, false) => "which cannot be compared as its mapping says; cast it in the projection",
    }
}

/// The label of each text field, the heaviest first, and what each label weighs in the order `ts_rank` has them (D to A).
/// There are four; fields beyond the fourth weight share the last.
fn labels(fields: &Fields) -> (Vec<char>, [f32; 4]) {
    let mut weights: Vec<f32> = fields.text().iter().map(|field| field.weight).collect();
    weights.sort_by(|a, b| b.total_cmp(a));
    weights.dedup();
    let heaviest = weights.first().copied().unwrap_or(1.0);
    let letters = ['A', 'B', 'C', 'D'];
    let rank = |weight: f32| weights.iter().position(|other| *other == weight).unwrap_or_default().min(3);
    let mut by_label = [0.0; 4];
    for (place, weight) in weights.iter().take(4).enumerate() {
        by_label[3 - place] = weight / heaviest;
    }
    (fields.text().iter().map(|field| letters[rank(field.weight)]).collect(), by_label)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_always_there_only_when_one_function_makes_all_of_it() {
        let is_always_there = |output: &str| is_always_there(&json!([{ "Plan": { "Output": [output] } }]));
        for output in [
            "jsonb_build_object('a', b)",
            "(json_build_object('a', f(b), 'it''s )', (c)))",
            "jsonb_build_object('\"', 1, ')', 2)",
        ] {
            assert!(is_always_there(output), "{output}");
        }
        for output in [
            "document",
            "CASE WHEN a THEN jsonb_build_object('a', b) ELSE NULL::jsonb END",
            "(jsonb_build_object('a', b) || c)",
            "(jsonb_build_object('a', b) -> jsonb_build_object('a', b))",
            "to_jsonb(a.*)",
            "",
        ] {
            assert!(!is_always_there(output), "{output}");
        }
    }
}
