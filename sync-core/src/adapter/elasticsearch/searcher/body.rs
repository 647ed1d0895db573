//! A query in the words of Elasticsearch, which OpenSearch understands, too.

use std::ops::Bound;

use serde_json::{Map, Value as Json, json};

use super::NAME;
use crate::query::{
    Condition, Cursor, FieldKind, Fields, Filter, MAX_DEPTH, MAX_FACET_VALUES, Order, Place, Query, Text, Value, Words,
    whole_milliseconds,
};

/// The name under which all that fits is counted where hits are only a part of it.
pub(super) const ALL: &str = "all";

/// The name of the count of a facet.
pub(super) fn facet(place: usize) -> String {
    format!("facet{place}")
}

/// Documents to ask for: one more than wanted tells whether there is another page.
fn size(query: &Query, begun: Option<&Cursor>) -> usize {
    match begun {
        Some(Cursor { place: Place::Depth, depth, .. }) => (query.limit + 1).min(MAX_DEPTH.saturating_sub(*depth)),
        Some(_) | None => query.limit + 1,
    }
}

pub(super) fn of(query: &Query, order: &Order, fields: &Fields) -> Json {
    let begun = query.begins_after(NAME);
    let mut body = json!({
        "size": size(query, begun), "version": true, "track_total_hits": MAX_DEPTH, "query": matching(query, order, fields),
    });
    let by_key = |direction: &str| json!({ fields.key(): direction });
    let mut counts = Map::new();
    for (place, field) in query.facets.iter().enumerate() {
        counts.insert(facet(place), json!({ "terms": { "field": field, "size": MAX_FACET_VALUES } }));
    }
    match order {
        Order::Relevance => {
            body["sort"] = json!(["_score", by_key("asc")]);
            body["from"] = json!(begun.map_or(0, |cursor| cursor.depth));
        }
        Order::By { field, descending } => {
            let direction = if *descending { "desc" } else { "asc" };
            body["sort"] = json!([by_field(field, direction, fields), by_key(direction)]);
            // Only so can a document without a value be told from one with an extreme one.
            body["docvalue_fields"] = json!([field]);
            match begun.map(|cursor| (cursor, &cursor.place)) {
                None => {}
                Some((cursor, Place::Depth)) => body["from"] = json!(cursor.depth),
                Some((cursor, Place::After { value: Some(value), key })) => {
                    body["search_after"] = after(value, key, *descending, cursor.by == NAME);
                }
                Some((cursor, Place::After { value: None, key })) if cursor.by == NAME => {
                    body["search_after"] = json!([nothing(field, *descending, fields), key]);
                }
                Some((_, Place::After { value: None, key })) => {
                    body["sort"] = json!([by_key(direction)]);
                    body["search_after"] = json!([key]);
                    body["post_filter"] = json!({ "bool": { "must_not": { "exists": { "field": field } } } });
                    counts.insert(ALL.to_owned(), json!({ "filter": { "match_all": {} } }));
                }
            }
        }
    }
    if !counts.is_empty() {
        body["aggs"] = Json::Object(counts);
    }
    body
}

/// An order. As longs, whatever is missing has a place of its own beside all integers there can be, and the same one for
/// booleans in Elasticsearch and OpenSearch.
fn by_field(field: &str, direction: &str, fields: &Fields) -> Json {
    let mut order = json!({ "order": direction, "missing": "_last" });
    if let Some(FieldKind::Integer | FieldKind::Boolean) = fields.filterable().get(field).map(|field| field.kind) {
        order["numeric_type"] = json!("long");
    }
    json!({ field: order })
}

/// What Elasticsearch itself has in the place of a value that is missing.
fn nothing(field: &str, descending: bool, fields: &Fields) -> Json {
    match fields.filterable().get(field).map(|field| field.kind) {
        Some(FieldKind::Keyword) | None => Json::Null,
        Some(FieldKind::Double) => json!(if descending { "-Infinity" } else { "Infinity" }),
        Some(FieldKind::Integer | FieldKind::Long | FieldKind::Date | FieldKind::Boolean) => {
            json!(if descending { i64::MIN } else { i64::MAX })
        }
    }
}

/// Where to go on. A date of another searcher may be finer than those here: documents of the same millisecond may have been
/// told of already, or not; they are repeated.
fn after(value: &Value, key: &str, descending: bool, is_own: bool) -> Json {
    if let (Value::Date(micros), false) = (value, is_own) {
        let before_all = if descending { "\u{10ffff}" } else { "" };
        return json!([whole_milliseconds(*micros) / 1_000, before_all]);
    }
    // OpenSearch knows a boolean only as the number it sorts by; Elasticsearch takes either.
    let sorted = if let Value::Boolean(is) = value { json!(u8::from(*is)) } else { plain(value) };
    json!([sorted, key])
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Keyword(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Date(micros) => json!(micros.div_euclid(1_000)),
        Value::Boolean(is) => json!(is),
    }
}

fn matching(query: &Query, order: &Order, fields: &Fields) -> Json {
    let (mut must, mut filters, mut must_not) = (Vec::new(), Vec::new(), Vec::new());
    for Words { is_excluded, what } in &query.text {
        // Of a word that the analyzer takes away, nothing is left to be found or excluded.
        let looked_for = text(what, fields, if *is_excluded { "none" } else { "all" });
        match (is_excluded, order) {
            (true, _) => must_not.push(looked_for),
            (false, Order::Relevance) => must.push(looked_for),
            (false, Order::By { .. }) => filters.push(looked_for),
        }
    }
    for filter in &query.filters {
        (if filter.is_excluded { &mut must_not } else { &mut filters }).push(holds(filter));
    }
    json!({ "bool": { "must": must, "filter": filters, "must_not": must_not } })
}

fn text(text: &Text, fields: &Fields, of_nothing: &str) -> Json {
    let looked_into: Vec<_> = fields.text().iter().map(|field| format!("{}^{}", field.name, field.weight)).collect();
    let (how, written) = match text {
        // Each word may be in a field of its own.
        Text::Word(word) => ("cross_fields", word),
        Text::Prefix(word) => ("bool_prefix", word),
        Text::Phrase(words) => ("phrase", words),
    };
    let mut query = json!({ "query": written, "fields": looked_into, "type": how, "zero_terms_query": of_nothing });
    if !matches!(text, Text::Phrase(_)) {
        query["operator"] = json!("and");
    }
    json!({ "multi_match": query })
}

fn holds(Filter { field, condition, .. }: &Filter) -> Json {
    match condition {
        Condition::OneOf(values) => {
            json!({ "terms": { field.as_str(): values.iter().map(plain).collect::<Vec<_>>() } })
        }
        Condition::Between(from, to) => {
            let mut range = Map::new();
            match from {
                Bound::Included(value) => drop(range.insert("gte".to_owned(), plain(value))),
                Bound::Excluded(value) => drop(range.insert("gt".to_owned(), plain(value))),
                Bound::Unbounded => {}
            }
            match to {
                Bound::Included(value) => drop(range.insert("lte".to_owned(), plain(value))),
                Bound::Excluded(value) => drop(range.insert("lt".to_owned(), plain(value))),
                Bound::Unbounded => {}
            }
            if [from, to]
                .into_iter()
                .any(|end| matches!(end, Bound::Included(Value::Date(_)) | Bound::Excluded(Value::Date(_))))
            {
                // Whatever format the mapping has.
                range.insert("format".to_owned(), json!("epoch_millis"));
            }
            json!({ "range": { field.as_str(): range } })
        }
        Condition::Like(pattern) => {
            let escaped =
                pattern.parts().iter().map(|part| part.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?"));
            json!({ "wildcard": { field.as_str(): { "value": escaped.collect::<Vec<_>>().join("*") } } })
        }
        Condition::Present => json!({ "exists": { "field": field } }),
    }
}
