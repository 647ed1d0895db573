//! Which version of each key an index holds.

use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::index::InvertedIndexReader;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet, Result, Searcher, SegmentReader, TERMINATED, Term};

use super::fields::IndexFields;
use crate::version::Version;

/// What an index holds of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) version: Version,
    /// There is a document. Otherwise it was deleted.
    pub(super) is_live: bool,
    pub(super) at: DocAddress,
}

/// The keys of one moment.
pub(super) struct Keys<'a> {
    fields: &'a IndexFields,
    segments: Vec<KeyColumns<'a>>,
}

/// Those of one segment.
pub(super) struct KeyColumns<'a> {
    number: u32,
    segment: &'a SegmentReader,
    pub(super) terms: Arc<InvertedIndexReader>,
    versions: Column<u64>,
    live: Column<bool>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(searcher: &'a Searcher, fields: &'a IndexFields) -> Result<Self> {
        let columns = |(number, segment): (u32, &'a SegmentReader)| {
            let fast = segment.fast_fields();
            Ok(KeyColumns {
                number,
                segment,
                terms: segment.inverted_index(fields.key)?,
                versions: fast.u64(fields.name(fields.version))?,
                live: fast.bool(fields.name(fields.live))?,
            })
        };
        let segments = (0..).zip(searcher.segment_readers()).map(columns).collect::<Result<_>>()?;
        Ok(Self { fields, segments })
    }

    pub(super) fn segments(&self) -> &[KeyColumns<'a>] {
        &self.segments
    }

    pub(super) fn find(&self, key: &str) -> Result<Option<Held>> {
        let term = Term::from_field_text(self.fields.key, key);
        for segment in &self.segments {
            let Some(postings) = segment.terms.read_postings(&term, IndexRecordOption::Basic)? else { continue };
            if let Some(held) = segment.alive(postings) {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }
}

impl KeyColumns<'_> {
    /// The one of these that was not replaced; there is one at most.
    pub(super) fn alive(&self, mut postings: impl DocSet) -> Option<Held> {
        let mut document = postings.doc();
        while document != TERMINATED {
            if !self.segment.is_deleted(document) {
                return Some(Held {
                    version: Version::from_external(self.versions.first(document)?),
                    is_live: self.live.first(document)?,
                    at: DocAddress::new(self.number, document),
                });
            }
            document = postings.advance();
        }
        None
    }
}
