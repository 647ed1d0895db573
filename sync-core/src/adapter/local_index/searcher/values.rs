//! How often each value of a field is among what was found.

use std::collections::{BTreeMap, HashMap};

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::{DocId, Result, Score, SegmentOrdinal, SegmentReader};

use crate::port::{Counted, Facet};
use crate::query::MAX_FACET_VALUES;

/// Counts the values of a keyword.
#[derive(Debug)]
pub(super) struct ValueCounts {
    field: String,
}

impl ValueCounts {
    pub(super) fn of(field: &str) -> Self {
        Self { field: field.to_owned() }
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// The most frequent ones.
    pub(super) fn into_facet(self, field: String) -> Facet {
        let mut values: Vec<_> = self.0.into_iter().map(|(value, count)| Counted { value, count }).collect();
        values.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        values.truncate(MAX_FACET_VALUES);
        Facet { field, values, is_exact: true }
    }
}

impl Collector for ValueCounts {
    type Fruit = Counts;
    type Child = SegmentCounts;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> Result<SegmentCounts> {
        Ok(SegmentCounts { words: segment.fast_fields().str(&self.field)?, counts: HashMap::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<Result<Vec<(String, u64)>>>) -> Result<Counts> {
        let mut all = Counts::default();
        for segment in segments {
            for (value, count) in segment? {
                *all.0.entry(value).or_default() += count;
            }
        }
        Ok(all)
    }
}

/// Those of one segment, in which a keyword is known by its number.
pub(super) struct SegmentCounts {
    words: Option<StrColumn>,
    counts: HashMap<u64, u64>,
}

impl SegmentCollector for SegmentCounts {
    type Fruit = Result<Vec<(String, u64)>>;

    fn collect(&mut self, document: DocId, _: Score) {
        if let Some(words) = &self.words {
            for number in words.ords().values_for_doc(document) {
                *self.counts.entry(number).or_default() += 1;
            }
        }
    }

    fn harvest(self) -> Self::Fruit {
        let Some(words) = &self.words else { return Ok(Vec::new()) };
        let counted = |(number, count): (&u64, &u64)| {
            let mut word = String::new();
            words.ord_to_str(*number, &mut word)?;
            Ok((word, *count))
        };
        self.counts.iter().map(counted).collect()
    }
}
