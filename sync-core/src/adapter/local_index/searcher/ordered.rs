//! The first documents in an order by a field.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, MonotonicallyMappableToU64, StrColumn};
use tantivy::{DocAddress, DocId, Result, Score, SegmentOrdinal, SegmentReader, TantivyError};

use crate::adapter::local_index::fields::{IndexFields, Kind, Searched};
use crate::query::{FieldKind, Value};

/// By what, and in which direction; what is equal in it, by key in the same direction. What has no value comes last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sorting {
    pub(super) by: Searched,
    pub(super) descending: bool,
}

/// Collects the first so many of what is found.
#[derive(Debug)]
pub(super) struct Ordered {
    field: String,
    key: String,
    sorting: Sorting,
    kind: FieldKind,
    wanted: usize,
}

/// One document in its place.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) value: Option<Value>,
    pub(super) key: String,
    pub(super) at: DocAddress,
}

/// A place in one segment: the smaller comes first.
type Rank = (bool, u64, u64);

impl Ordered {
    pub(super) fn new(fields: &IndexFields, sorting: Sorting, kind: FieldKind, wanted: usize) -> Self {
        let [field, key] = [sorting.by.field, fields.key].map(|field| fields.name(field).to_owned());
        Self { field, key, sorting, kind, wanted }
    }

    fn in_order(&self, one: &Row, other: &Row) -> Ordering {
        let turned = |order: Ordering| if self.sorting.descending { order.reverse() } else { order };
        let by_value = match (&one.value, &other.value) {
            (Some(one), Some(other)) => turned(one.compare(other)),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        by_value.then_with(|| turned(one.key.cmp(&other.key)))
    }
}

impl Collector for Ordered {
    type Fruit = Vec<Row>;
    type Child = OrderedSegment;

    fn for_segment(&self, number: SegmentOrdinal, segment: &SegmentReader) -> Result<OrderedSegment> {
        let fast = segment.fast_fields();
        let field = self.field.as_str();
        let (values, words) = match self.sorting.by.kind {
            Kind::Keyword | Kind::Text => match fast.str(field)? {
                None => (None, None),
                Some(words) => (Some(words.ords().clone()), Some(words)),
            },
            Kind::Whole | Kind::Date => (Some(fast.i64(field)?.to_u64_monotonic()), None),
            Kind::Number => (Some(fast.f64(field)?.to_u64_monotonic()), None),
            Kind::Boolean => (Some(fast.bool(field)?.to_u64_monotonic()), None),
        };
        let keys =
            fast.str(&self.key)?.ok_or_else(|| TantivyError::InternalError("documents without keys".to_owned()))?;
        Ok(OrderedSegment {
            number,
            values,
            words,
            keys,
            descending: self.sorting.descending,
            kind: self.kind,
            wanted: self.wanted,
            first: BinaryHeap::new(),
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<Result<Vec<Row>>>) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = segments.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        rows.sort_by(|one, other| self.in_order(one, other));
        rows.truncate(self.wanted);
        Ok(rows)
    }
}

/// The first of one segment, in which a keyword is known by its number.
pub(super) struct OrderedSegment {
    number: SegmentOrdinal,
    values: Option<Column<u64>>,
    words: Option<StrColumn>,
    keys: StrColumn,
    descending: bool,
    kind: FieldKind,
    wanted: usize,
    first: BinaryHeap<(Rank, DocId)>,
}

impl OrderedSegment {
    fn rank(&self, document: DocId) -> Rank {
        let value = self.values.as_ref().and_then(|values| values.first(document));
        let key = self.keys.ords().first(document).unwrap_or_default();
        let turn = |number: u64| if self.descending { !number } else { number };
        (value.is_none(), value.map_or(0, turn), turn(key))
    }

    fn row(&self, document: DocId) -> Result<Row> {
        let value = match self.values.as_ref().and_then(|values| values.first(document)) {
            None => None,
            Some(number) => Some(match self.kind {
                FieldKind::Keyword => Value::Keyword(word(self.words.as_ref().unwrap_or(&self.keys), number)?),
                FieldKind::Integer | FieldKind::Long => Value::Integer(i64::from_u64(number)),
                FieldKind::Date => Value::Date(i64::from_u64(number)),
                FieldKind::Double => Value::Double(f64::from_u64(number)),
                FieldKind::Boolean => Value::Boolean(bool::from_u64(number)),
            }),
        };
        let key = word(&self.keys, self.keys.ords().first(document).unwrap_or_default())?;
        Ok(Row { value, key, at: DocAddress::new(self.number, document) })
    }
}

fn word(words: &StrColumn, number: u64) -> Result<String> {
    let mut word = String::new();
    words.ord_to_str(number, &mut word)?;
    Ok(word)
}

impl SegmentCollector for OrderedSegment {
    type Fruit = Result<Vec<Row>>;

    fn collect(&mut self, document: DocId, _: Score) {
        let rank = self.rank(document);
        if self.first.len() < self.wanted {
            self.first.push((rank, document));
        } else if let Some(mut last) = self.first.peek_mut()
            && (rank, document) < *last
        {
            *last = (rank, document);
        }
    }

    fn harvest(mut self) -> Result<Vec<Row>> {
        let first = std::mem::take(&mut self.first);
        first.into_iter().map(|(_, document)| self.row(document)).collect()
    }
}
