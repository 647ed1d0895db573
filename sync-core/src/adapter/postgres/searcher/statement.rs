//! A query in SQL: text with numbered parameters, and their values.

use std::ops::Bound;

use tokio_postgres::types::{ToSql, Type};
use unicode_segmentation::UnicodeSegmentation;

use super::columns::{SearchColumn, SearchColumns};
use crate::query::{Condition, Filter, Query, Text, Value, Words};

/// What is asked, and the values it is asked with.
#[derive(Default)]
pub(super) struct Parameters(Vec<(Box<dyn ToSql + Send + Sync>, Type)>);

impl Parameters {
    /// Adds a value; how it is written in SQL.
    pub(super) fn add(&mut self, value: impl ToSql + Send + Sync + 'static, sql_type: Type) -> String {
        self.0.push((Box::new(value), sql_type));
        format!("${}", self.0.len())
    }

    /// Adds a value of a field.
    pub(super) fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Keyword(text) => self.add(text.clone(), Type::TEXT),
            Value::Integer(number) => self.add(*number, Type::INT8),
            Value::Double(number) => self.add(*number, Type::FLOAT8),
            // Microseconds: a timestamp of PostgreSQL may be later than a calendar here goes.
            Value::Date(micros) => {
                // An interval is multiplied as a double, which cannot tell the microseconds of later centuries.
                let micros = self.add(*micros, Type::INT8);
                format!(
                    "(timestamptz 'epoch' + {micros} / 1000000 * interval '1 second' \
                     + {micros} % 1000000 * interval '1 microsecond')"
                )
            }
            Value::Boolean(is) => self.add(*is, Type::BOOL),
        }
    }

    fn values(&mut self, values: &[Value]) -> String {
        let mut lists: (Vec<String>, Vec<i64>, Vec<f64>, Vec<bool>) = Default::default();
        for value in values {
            match value {
                Value::Keyword(text) => lists.0.push(text.clone()),
                Value::Integer(number) => lists.1.push(*number),
                Value::Double(number) => lists.2.push(*number),
                Value::Boolean(is) => lists.3.push(*is),
                // A date is asked for by a range.
                Value::Date(_) => {}
            }
        }
        let (texts, integers, doubles, booleans) = lists;
        if !integers.is_empty() {
            self.add(integers, Type::INT8_ARRAY)
        } else if !doubles.is_empty() {
            self.add(doubles, Type::FLOAT8_ARRAY)
        } else if !booleans.is_empty() {
            self.add(booleans, Type::BOOL_ARRAY)
        } else {
            self.add(texts, Type::TEXT_ARRAY)
        }
    }

    pub(super) fn as_typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.0.iter().map(|(value, sql_type)| (&**value as &(dyn ToSql + Sync), sql_type.clone())).collect()
    }
}

/// The rows that fit, called `p`; each part of a `where`.
pub(super) fn matching(
    query: &Query,
    columns: &SearchColumns,
    regconfig: &str,
    parameters: &mut Parameters,
) -> Vec<String> {
    let mut conditions = vec![if columns.may_lack_document { "p.document is not null" } else { "true" }.to_owned()];
    if let Some(words) = &columns.tsvector {
        conditions.extend(found_in(query, words, &columns.tsvectors, regconfig, parameters));
    }
    for filter in &query.filters {
        if let Some(column) = columns.others.get(&filter.field) {
            let holds = holds(filter, column, parameters);
            conditions.push(if filter.is_excluded { format!("({holds}) is not true") } else { holds });
        }
    }
    conditions
}

/// What is found in text. The words of a row are taken apart once, whatever is looked for in them: that is what takes time.
fn found_in(
    query: &Query,
    words: &str,
    tsvectors: &[String],
    regconfig: &str,
    parameters: &mut Parameters,
) -> Vec<String> {
    let is_phrase = |what: &Text| matches!(what, Text::Phrase(_));
    let (mut wanted, mut unwanted, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    for Words { is_excluded, what } in &query.text {
        let looked_for = tsquery(what, regconfig, parameters);
        // Where one field ends and another begins, words are neighbours that are none.
        let each: Vec<_> = tsvectors.iter().map(|words| format!("{words} @@ {looked_for}")).collect();
        let in_one = format!("({})", each.join(" or "));
        match (is_excluded, is_phrase(what)) {
            (true, true) => conditions.push(format!("not {in_one}")),
            (true, false) => unwanted.push(looked_for),
            (false, true) => {
                conditions.push(format!("(numnode({looked_for}) = 0 or {in_one})"));
                wanted.push(looked_for);
            }
            (false, false) => wanted.push(looked_for),
        }
    }
    if !wanted.is_empty() {
        let wanted = format!("({})", wanted.join(" && "));
        // Of words that the language does not count, nothing is left to be found.
        conditions.insert(0, format!("(numnode{wanted} = 0 or {words} @@ {wanted})"));
    }
    if !unwanted.is_empty() {
        conditions.push(format!("not ({words} @@ ({}))", unwanted.join(" || ")));
    }
    conditions
}

/// All words that are looked for, to rank what was found by.
pub(super) fn tsquery_of(query: &Query, regconfig: &str, parameters: &mut Parameters) -> String {
    let included = query.text.iter().filter(|words| !words.is_excluded);
    let each: Vec<_> = included.map(|words| tsquery(&words.what, regconfig, parameters)).collect();
    format!("({})", each.join(" && "))
}

fn tsquery(text: &Text, regconfig: &str, parameters: &mut Parameters) -> String {
    let mut phrase = |words: &str| {
        format!("phraseto_tsquery({regconfig}, outbox.words({}))", parameters.add(words.to_owned(), Type::TEXT))
    };
    match text {
        Text::Phrase(words) => phrase(words),
        Text::Word(written) => {
            let each: Vec<_> = pieces(written).into_iter().map(&mut phrase).collect();
            all_of(&each)
        }
        Text::Prefix(written) => {
            let pieces = pieces(written);
            let Some((last, first)) = pieces.split_last() else { return NOTHING.to_owned() };
            let mut each: Vec<_> = first.iter().map(|piece| phrase(piece)).collect();
            let last = parameters.add((*last).to_owned(), Type::TEXT);
            each.push(format!("to_tsquery({regconfig}, quote_literal(outbox.words({last})) || ':*')"));
            all_of(&each)
        }
    }
}

/// What is found everywhere.
const NOTHING: &str = "''::tsquery";

fn all_of(each: &[String]) -> String {
    if each.is_empty() { NOTHING.to_owned() } else { format!("({})", each.join(" && ")) }
}

/// What the index takes for words of their own, in any order; what stands together in a script without spaces is one.
fn pieces(written: &str) -> Vec<&str> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (begin, word) in written.unicode_word_indices() {
        match places.last_mut() {
            Some((_, end)) if *end == begin => *end = begin + word.len(),
            Some(_) | None => places.push((begin, begin + word.len())),
        }
    }
    places.into_iter().map(|(begin, end)| &written[begin..end]).collect()
}

fn holds(filter: &Filter, column: &SearchColumn, parameters: &mut Parameters) -> String {
    let sql = &column.sql;
    match &filter.condition {
        Condition::OneOf(values) if column.is_uuid => {
            let possible = values.iter().filter(|value| matches!(value, Value::Keyword(text) if is_uuid(text)));
            let possible: Vec<_> = possible.cloned().collect();
            format!("{sql} = any ({}::text[]::uuid[])", parameters.values(&possible))
        }
        Condition::OneOf(values) if column.is_many => format!("{sql} && {}", parameters.values(values)),
        Condition::OneOf(values) => match values.as_slice() {
            [one] => format!("{sql} = {}", parameters.value(one)),
            several => format!("{sql} = any ({})", parameters.values(several)),
        },
        Condition::Between(from, to) => {
            let from = match from {
                Bound::Included(value) => Some(format!("{sql} >= {}", parameters.value(value))),
                Bound::Excluded(value) => Some(format!("{sql} > {}", parameters.value(value))),
                Bound::Unbounded => None,
            };
            let to = match to {
                Bound::Included(value) => Some(format!("{sql} <= {}", parameters.value(value))),
                Bound::Excluded(value) => Some(format!("{sql} < {}", parameters.value(value))),
                Bound::Unbounded => None,
            };
            from.into_iter().chain(to).collect::<Vec<_>>().join(" and ")
        }
        Condition::Like(pattern) => {
            let escaped =
                pattern.parts().iter().map(|part| part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
            let pattern = parameters.add(escaped.collect::<Vec<_>>().join("%"), Type::TEXT);
            let text = if column.is_uuid { "::text collate \"C\"" } else { "" };
            format!("{sql}{text} like {pattern}")
        }
        Condition::Present if column.is_many => format!("cardinality(array_remove({sql}, null)) > 0"),
        Condition::Present => format!("{sql} is not null"),
    }
}

/// Whether it is how PostgreSQL writes one: only so it is anybody's key.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}
