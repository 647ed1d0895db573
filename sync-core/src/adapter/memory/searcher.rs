//! Searching an index in memory: the reference, which looks at every document.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value as Json;

use super::sink::MemorySink;
use crate::error::{Error, ErrorKind};
use crate::port::{AwaitedWrite, Counted, Facet, Found, Hit, Inventory, Searcher, Sink, Stored, Total};
use crate::query::{
    Condition, Cursor, FieldKind, Fields, Filter, MAX_FACET_VALUES, Order, Place, Query, Text, Value, moment, words_of,
};

const NAME: &str = "memory";

/// Searches what a [`MemorySink`] holds.
#[derive(Debug)]
pub struct MemorySearcher {
    index: Arc<MemorySink>,
    fields: Arc<Fields>,
}

impl MemorySearcher {
    /// Searches these fields.
    #[must_use]
    pub const fn new(index: Arc<MemorySink>, fields: Arc<Fields>) -> Self {
        Self { index, fields }
    }

    fn fits(&self, query: &Query, document: &Json) -> bool {
        let has = |text: &Text| self.fields.text().iter().any(|field| holds(document, &field.name, text));
        query.text.iter().all(|words| match &words.what {
            // Each word of it may be in a field of its own.
            Text::Word(word) => {
                let found = words_of(word).all(|word| has(&Text::Word(word)));
                found != words.is_excluded
            }
            text @ (Text::Prefix(_) | Text::Phrase(_)) => has(text) != words.is_excluded,
        }) && query.filters.iter().all(|filter| self.holds(filter, document) != filter.is_excluded)
    }

    fn holds(&self, filter: &Filter, document: &Json) -> bool {
        let kind = self.kind(&filter.field);
        values(document, &filter.field, kind).iter().any(|value| match &filter.condition {
            Condition::OneOf(values) => values.contains(value),
            Condition::Between(from, to) => {
                let after = match from {
                    Bound::Included(from) => value.compare(from).is_ge(),
                    Bound::Excluded(from) => value.compare(from).is_gt(),
                    Bound::Unbounded => true,
                };
                after
                    && match to {
                        Bound::Included(to) => value.compare(to).is_le(),
                        Bound::Excluded(to) => value.compare(to).is_lt(),
                        Bound::Unbounded => true,
                    }
            }
            Condition::Like(pattern) => matches!(value, Value::Keyword(text) if pattern.fits(text)),
            Condition::Present => true,
        })
    }

    fn kind(&self, field: &str) -> FieldKind {
        self.fields.filterable().get(field).map_or(FieldKind::Keyword, |field| field.kind)
    }

    /// What a document is ordered by.
    fn place(&self, order: &Order, query: &Query, document: &Json) -> Option<Value> {
        match order {
            Order::By { field, .. } => values(document, field, self.kind(field)).into_iter().next(),
            Order::Relevance => {
                let wanted = query.text.iter().filter(|words| !words.is_excluded);
                let scores = wanted.map(|words| {
                    let found = self.fields.text().iter().filter(|field| holds(document, &field.name, &words.what));
                    found.map(|field| f64::from(field.weight)).sum::<f64>()
                });
                Some(Value::Double(scores.sum()))
            }
        }
    }

    fn facet(&self, field: &str, found: &[Row]) -> Facet {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for row in found {
            let mut held: Vec<_> = values(&row.document, field, FieldKind::Keyword);
            held.dedup();
            for value in held {
                if let Value::Keyword(value) = value {
                    *counts.entry(value).or_default() += 1;
                }
            }
        }
        let mut values: Vec<_> = counts.into_iter().map(|(value, count)| Counted { value, count }).collect();
        values.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        values.truncate(MAX_FACET_VALUES);
        Facet { field: field.to_owned(), values, is_exact: true }
    }
}

struct Row {
    key: String,
    stored: Stored,
    document: Json,
    place: Option<Value>,
}

#[async_trait]
impl Searcher for MemorySearcher {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn search(&self, query: &Query) -> Result<Found, Error> {
        query.check(&self.fields)?;
        let order = query.page_order(&self.fields);
        let (descending, turned) = match &order {
            Order::Relevance => (true, false),
            Order::By { descending, .. } => (*descending, *descending),
        };
        let in_order = |a: (&Option<Value>, &str), b: (&Option<Value>, &str)| {
            let by_key = if turned { b.1.cmp(a.1) } else { a.1.cmp(b.1) };
            by_value(a.0, b.0, descending).then(by_key)
        };
        let keys: Vec<_> =
            self.index.inventory(None, usize::MAX).await?.documents.into_iter().map(|(key, _)| key).collect();
        let stored = self.index.fetch(&keys).await?;
        let mut found = Vec::new();
        for (key, stored) in keys.into_iter().zip(stored) {
            let Some(stored) = stored else { continue };
            let document: Json = serde_json::from_str(&stored.document)
                .map_err(|error| Error::new(ErrorKind::Contract, "a document is no JSON").with_source(error))?;
            if self.fits(query, &document) {
                let place = self.place(&order, query, &document);
                found.push(Row { key, stored, document, place });
            }
        }
        found.sort_by(|a, b| in_order((&a.place, &a.key), (&b.place, &b.key)));
        let total = Total { value: found.len() as u64, is_exact: true };
        let facets = query.facets.iter().map(|field| self.facet(field, &found)).collect();
        let (begun, depth) = match query.begins_after(NAME) {
            None => (0, 0),
            Some(Cursor { place: Place::Depth, depth, .. }) => (*depth, *depth),
            Some(Cursor { place: Place::After { value, key }, depth, .. }) => {
                let is_behind = |row: &Row| in_order((&row.place, &row.key), (value, key)).is_gt();
                (found.iter().position(is_behind).unwrap_or(found.len()), *depth)
            }
        };
        let page: Vec<_> = found.iter().skip(begun).take(query.limit).collect();
        let last = page.last().filter(|_| begun + page.len() < found.len());
        let next = last.map(|row| Cursor {
            by: NAME.to_owned(),
            order,
            depth: depth.saturating_add(page.len()),
            place: Place::After { value: row.place.clone(), key: row.key.clone() },
        });
        let hit = |row: &&Row| Hit {
            key: row.key.clone(),
            version: row.stored.version,
            document: row.stored.document.clone(),
        };
        Ok(Found { hits: page.iter().map(hit).collect(), total, facets, next })
    }

    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error> {
        let keys: Vec<_> = writes.iter().map(|write| write.key.clone()).collect();
        let found = self.index.versions(&keys).await?;
        Ok(writes.iter().zip(found).all(|(write, found)| write.is_seen(found)))
    }
}

fn at<'a>(document: &'a Json, field: &str) -> Option<&'a Json> {
    field.split('.').try_fold(document, |inside, step| inside.get(step))
}

fn values(document: &Json, field: &str, kind: FieldKind) -> Vec<Value> {
    let held = match at(document, field) {
        None => &[],
        Some(Json::Array(values)) => values.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let read = |value: &Json| match kind {
        FieldKind::Keyword => Some(Value::Keyword(value.as_str()?.to_owned())),
        FieldKind::Integer | FieldKind::Long => value.as_i64().map(Value::Integer),
        FieldKind::Double => value.as_f64().map(Value::Double),
        FieldKind::Date => moment(value.as_str()?).map(Value::Date),
        FieldKind::Boolean => value.as_bool().map(Value::Boolean),
    };
    held.iter().filter_map(read).collect()
}

/// What has no value comes last either way.
fn by_value(a: &Option<Value>, b: &Option<Value>, descending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descending => b.compare(a),
        (Some(a), Some(b)) => a.compare(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn holds(document: &Json, field: &str, text: &Text) -> bool {
    let Some(held) = at(document, field).and_then(Json::as_str) else { return false };
    let (held, wanted): (Vec<_>, Vec<_>) = (words_of(held).collect(), words_of(text.written()).collect());
    match text {
        Text::Word(_) => wanted.iter().all(|word| held.contains(word)),
        Text::Phrase(_) => held.windows(wanted.len().max(1)).any(|window| window == wanted),
        Text::Prefix(_) => wanted.split_last().is_some_and(|(last, others)| {
            others.iter().all(|word| held.contains(word)) && held.iter().any(|word| word.starts_with(last))
        }),
    }
}
