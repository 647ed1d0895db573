//! What Elasticsearch found.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{NAME, body};
use crate::adapter::elasticsearch::client::Answer;
use crate::error::{Error, ErrorKind};
use crate::port::{Counted, Facet, Found, Hit, Total};
use crate::query::{Cursor, FieldKind, Fields, MAX_DEPTH, Order, Place, Query, Value};
use crate::version::Version;

#[derive(Deserialize)]
struct Response<'a> {
    timed_out: bool,
    #[serde(borrow)]
    hits: Hits<'a>,
    #[serde(default)]
    aggregations: BTreeMap<String, Count>,
}

#[derive(Deserialize)]
struct Hits<'a> {
    total: Totalled,
    #[serde(borrow, default)]
    hits: Vec<One<'a>>,
}

#[derive(Deserialize)]
struct Totalled {
    value: u64,
    relation: String,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(rename = "_id")]
    key: String,
    #[serde(rename = "_version")]
    version: u64,
    #[serde(borrow, rename = "_source")]
    source: &'a RawValue,
    sort: Vec<Json>,
    #[serde(default)]
    fields: BTreeMap<String, Json>,
}

#[derive(Deserialize)]
struct Count {
    #[serde(default)]
    doc_count: u64,
    #[serde(default)]
    doc_count_error_upper_bound: i64,
    #[serde(default)]
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    key: String,
    doc_count: u64,
}

pub(super) fn read(answer: &Answer, query: &Query, order: Order, fields: &Fields) -> Result<Found, Error> {
    let Response { timed_out, hits: Hits { total, mut hits }, mut aggregations } = answer.read("searching")?;
    if timed_out {
        let what = format!("searching: {} found only a part in the time it had", answer.url);
        return Err(Error::new(ErrorKind::Unavailable, what));
    }
    let depth = query.begins_after(NAME).map_or(0, |cursor| cursor.depth);
    let is_last = hits.len() <= query.limit;
    hits.truncate(query.limit);
    let depth = depth.saturating_add(hits.len());
    let place = match hits.last().filter(|_| !is_last) {
        Some(last) => Some(place(last, &order, fields).ok_or_else(|| {
            let what = format!("searching: {} does not say where its last document stands in the order", answer.url);
            Error::new(ErrorKind::Contract, what)
        })?),
        None => None,
    };
    let is_too_deep = place == Some(Place::Depth) && depth >= MAX_DEPTH;
    let next = place.filter(|_| !is_too_deep).map(|place| Cursor { by: NAME.to_owned(), order, depth, place });
    let total = match aggregations.get(body::ALL) {
        Some(all) => Total { value: all.doc_count, is_exact: true },
        None => Total { value: total.value, is_exact: total.relation == "eq" },
    };
    let facets = query.facets.iter().enumerate().map(|(place, field)| {
        let count = aggregations.remove(&body::facet(place));
        let is_exact = count.as_ref().is_some_and(|count| count.doc_count_error_upper_bound == 0);
        let buckets = count.map(|count| count.buckets).unwrap_or_default();
        let values = buckets.into_iter().map(|bucket| Counted { value: bucket.key, count: bucket.doc_count });
        Facet { field: field.clone(), values: values.collect(), is_exact }
    });
    let facets = facets.collect();
    let hit = |one: One<'_>| Hit {
        key: one.key,
        version: Version::from_external(one.version),
        document: one.source.get().to_owned(),
    };
    Ok(Found { hits: hits.into_iter().map(hit).collect(), total, facets, next })
}

/// Where a document stands in the order; `None` when its answer does not say.
fn place(hit: &One<'_>, order: &Order, fields: &Fields) -> Option<Place> {
    let Order::By { field, .. } = order else { return Some(Place::Depth) };
    let key = hit.sort.last()?.as_str()?.to_owned();
    let value = if hit.fields.contains_key(field) {
        let kind = fields.filterable().get(field)?.kind;
        Some(value(kind, hit.sort.first()?)?)
    } else {
        None
    };
    Some(Place::After { value, key })
}

fn value(kind: FieldKind, sorted: &Json) -> Option<Value> {
    Some(match kind {
        FieldKind::Keyword => Value::Keyword(sorted.as_str()?.to_owned()),
        FieldKind::Integer | FieldKind::Long => Value::Integer(sorted.as_i64()?),
        FieldKind::Double => Value::Double(sorted.as_f64()?),
        FieldKind::Date => Value::Date(sorted.as_i64()?.saturating_mul(1_000)),
        FieldKind::Boolean => Value::Boolean(sorted.as_i64()? == 1),
    })
}
