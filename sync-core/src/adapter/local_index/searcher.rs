//! Searching an index in a directory.

mod excluded;
mod matching;
mod ordered;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use tantivy::collector::{Count, TopDocs};
use tantivy::{DocAddress, Searcher as Segments};

use self::matching::Matching;
use self::ordered::{Ordered, Row, Sorting};
use self::values::ValueCounts;
use super::alias::{Alias, LocalDirectory, LocalIndexConfig, Opened};
use super::columns::Keys;
use super::files::off_thread;
use super::store::Store;
use crate::error::Error;
use crate::port::{AwaitedWrite, Found, Hit, Searcher, Total};
use crate::query::{Cursor, Fields, MAX_DEPTH, Order, Place, Query};
use crate::version::Version;

const NAME: &str = "local";

/// Searches the index of a [`LocalSink`](super::LocalSink).
#[derive(Clone, Debug)]
pub struct LocalSearcher {
    alias: Alias,
    fields: Arc<Fields>,
}

impl LocalSearcher {
    /// Searches these fields of the index. Touches no disk.
    ///
    /// # Errors
    /// `Configuration`, naming `indexes.<name>.alias` or `indexes.<name>.mapping`.
    pub fn new(directory: &LocalDirectory, config: LocalIndexConfig, fields: Arc<Fields>) -> Result<Self, Error> {
        Ok(Self { alias: Alias::new(directory, config)?, fields })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened, &Fields) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Self { alias, fields } = self.clone();
        off_thread(move || {
            let searched = alias.searched()?.ok_or_else(|| alias.missing())?;
            work(&*alias.open(&searched)?.ok_or_else(|| alias.missing())?, &fields)
        })
        .await
    }
}

#[async_trait]
impl Searcher for LocalSearcher {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn search(&self, query: &Query) -> Result<Found, Error> {
        query.check(&self.fields)?;
        let query = query.clone();
        self.with(move |Opened { store, .. }, fields| search(store, fields, &query)).await
    }

    async fn shows(&self, writes: &[AwaitedWrite]) -> Result<bool, Error> {
        let writes = writes.to_vec();
        self.with(move |Opened { store, .. }, _| {
            let searcher = store.searcher()?;
            let keys = Keys::of(&searcher, &store.fields).map_err(|error| store.failed(error))?;
            for write in &writes {
                let held = keys.find(&write.key).map_err(|error| store.failed(error))?;
                if !write.is_seen(held.filter(|held| held.is_live).map(|held| held.version)) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
}

fn search(store: &Store, fields: &Fields, query: &Query) -> Result<Found, Error> {
    let segments = store.searcher()?;
    let order = query.page_order(fields);
    let matching = Matching { store, searched: fields, segments: &segments };
    let all = matching.all(query)?;
    let found = segments.search(&*all, &Count).map_err(|error| store.failed(error))?;
    let total = Total { value: found.min(MAX_DEPTH) as u64, is_exact: found <= MAX_DEPTH };
    let count = |field: &String| {
        let counts = ValueCounts::of(store.fields.name(matching.field(field)?.field));
        let counted = segments.search(&*all, &counts).map_err(|error| store.failed(error))?;
        Ok(counted.into_facet(field.clone()))
    };
    let facets = query.facets.iter().map(count).collect::<Result<_, Error>>()?;
    let mut page = page(store, &matching, all, query, &order)?;
    let has_more = page.len() > query.limit;
    page.truncate(query.limit);
    let place = page.last_mut().and_then(|(_, place)| place.take()).filter(|_| has_more);
    let depth = query.begins_after(NAME).map_or(0, |cursor| cursor.depth).saturating_add(page.len());
    let next = place.map(|place| Cursor { by: NAME.to_owned(), order, depth, place });
    let hits = page.iter().map(|(at, _)| hit(store, &segments, *at)).collect::<Result<_, _>>();
    Ok(Found { hits: hits.map_err(|error| store.failed(error))?, total, facets, next })
}

/// The documents of a page, and one more where there is one; each with its place in the order, if it can be gone on from there.
fn page(
    store: &Store,
    matching: &Matching<'_>,
    all: Box<dyn tantivy::query::Query>,
    query: &Query,
    order: &Order,
) -> Result<Vec<(DocAddress, Option<Place>)>, Error> {
    let wanted = query.limit + 1;
    let begun = query.begins_after(NAME);
    let depth = begun.map_or(0, |cursor| cursor.depth);
    match order {
        Order::Relevance => {
            let ranked = TopDocs::with_limit(wanted).and_offset(depth).order_by_score();
            let ranked = matching.segments.search(&*all, &ranked).map_err(|error| store.failed(error))?;
            let place = |depth: usize| (depth < MAX_DEPTH).then_some(Place::Depth);
            Ok(ranked.into_iter().zip(depth + 1..).map(|((_, at), depth)| (at, place(depth))).collect())
        }
        Order::By { field, descending } => {
            let sorting = Sorting { by: matching.field(field)?, descending: *descending };
            let (found, skipped) = match begun.map(|cursor| &cursor.place) {
                Some(Place::After { value, key }) => (matching.after(all, sorting, value.as_ref(), key), 0),
                Some(Place::Depth) => (all, depth),
                None => (all, 0),
            };
            let kind = matching.searched.get(field)?.kind;
            let ordered = Ordered::new(&store.fields, sorting, kind, skipped + wanted);
            let rows = matching.segments.search(&*found, &ordered).map_err(|error| store.failed(error))?;
            let place = |row: Row| (row.at, Some(Place::After { value: row.value, key: row.key }));
            Ok(rows.into_iter().skip(skipped).map(place).collect())
        }
    }
}

fn hit(store: &Store, segments: &Segments, at: DocAddress) -> tantivy::Result<Hit> {
    let document: tantivy::TantivyDocument = segments.doc(at)?;
    let fast = segments.segment_reader(at.segment_ord).fast_fields();
    let version = fast.u64(store.fields.name(store.fields.version))?.first(at.doc_id).unwrap_or_default();
    let key = store.key(&document)?;
    Ok(Hit { key, version: Version::from_external(version), document: store.document(&document)? })
}
