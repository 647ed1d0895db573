//! Writing under the guard: never an older state over a newer, whoever else writes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};

use tantivy::query::{BooleanQuery, Occur, Query, RangeQuery, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{IndexWriter, TantivyDocument, Term};

use super::columns::{Held, Keys};
use super::document;
use super::fields::IndexFields;
use super::store::Store;
use crate::error::{Error, ErrorKind};
use crate::port::{Outcome, Write};

/// What is written is gathered in that much memory, in bytes, and then on the disk.
const MEMORY: usize = 32 << 20;

/// For how long it is remembered what was deleted, in seconds.
const REMEMBERED: i64 = 3_600;

/// Seconds between two times of forgetting what was deleted long ago.
const FORGETTING: i64 = 60;

/// When an index forgot what was deleted long ago, in seconds since 1970 began.
#[derive(Debug, Default)]
pub(super) struct Forgot(AtomicI64);

/// Applies each write if it is newer, at `now` (seconds since 1970 began). When this returns, what was applied is on the disk.
///
/// # Errors
/// `Blocked` when the index is sealed or gone; `Internal` when a key is there twice; what the disk says.
pub(super) fn apply(store: &Store, forgot: &Forgot, now: i64, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
    let mut seen = HashSet::with_capacity(writes.len());
    if let Some(twice) = writes.iter().find(|write| !seen.insert(write.key.as_str())) {
        return Err(Error::new(ErrorKind::Internal, format!("key {:?} is twice in one call", twice.key)));
    }
    let lock = store.lock()?;
    match store.state()? {
        None => return Err(Error::new(ErrorKind::Blocked, store.gone().to_string())),
        Some(state) if state.is_sealed => {
            return Err(Error::new(ErrorKind::Blocked, "another index takes this one's place: it takes no writes"));
        }
        Some(_) => {}
    }
    let (mut outcomes, mut newer) = (Vec::with_capacity(writes.len()), Vec::new());
    let searcher = store.searcher()?;
    let keys = Keys::of(&searcher, &store.fields).map_err(|error| store.failed(error))?;
    for write in writes {
        let made = match document::of_write(write, &store.fields, now) {
            Ok(made) => made,
            Err(error) => {
                outcomes.push(Outcome::Failed(error));
                continue;
            }
        };
        let held = keys.find(&write.key).map_err(|error| store.failed(error))?;
        if held.is_some_and(|held| held.version >= write.version) {
            outcomes.push(Outcome::Stale);
            continue;
        }
        // The delete of a document that is not there is stale, though its version counts from now on.
        let existed = held.is_some_and(|Held { is_live, .. }| is_live);
        outcomes.push(if existed || write.document.is_some() { Outcome::Applied } else { Outcome::Stale });
        newer.push((write.key.as_str(), made));
    }
    let is_forgetting = now - forgot.0.load(Ordering::Relaxed) >= FORGETTING;
    if !newer.is_empty() {
        let writer = store.writer(&lock, MEMORY)?;
        write(writer, &store.fields, newer, is_forgetting.then_some(now - REMEMBERED))
            .map_err(|error| store.failed(error))?;
        if is_forgetting {
            forgot.0.store(now, Ordering::Relaxed);
        }
    }
    Ok(outcomes)
}

fn write(
    mut writer: IndexWriter,
    fields: &IndexFields,
    newer: Vec<(&str, TantivyDocument)>,
    forget: Option<i64>,
) -> tantivy::Result<()> {
    let added = newer.into_iter().try_for_each(|(key, made)| {
        writer.delete_term(Term::from_field_text(fields.key, key));
        writer.add_document(made).map(drop)
    });
    if let Err(error) = added {
        // The thread that writes has ended; of what, is told where it is waited for.
        return writer.commit().and(Err(error));
    }
    if let Some(before) = forget {
        writer.delete_query(deleted_before(fields, before))?;
    }
    writer.commit()?;
    writer.wait_merging_threads()
}

fn deleted_before(fields: &IndexFields, seconds: i64) -> Box<dyn Query> {
    use std::ops::Bound::{Excluded, Unbounded};
    let dead = TermQuery::new(Term::from_field_bool(fields.live, false), IndexRecordOption::Basic);
    let old = RangeQuery::new(Unbounded, Excluded(Term::from_field_i64(fields.deleted_at, seconds)));
    Box::new(BooleanQuery::new(vec![(Occur::Must, Box::new(dead)), (Occur::Must, Box::new(old))]))
}
