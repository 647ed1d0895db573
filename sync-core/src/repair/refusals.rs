//! The dead letters of an index that nobody searches yet: what only it refuses is for whoever fills it to know, and no
//! letter.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
use crate::port::{DeadLetter, DeadLetters, Inventory, Kept, KeyState, LetterCount, Selection, Versions};
use crate::repair::difference::{DifferenceKind, by_version};
use crate::version::Version;

/// The index that is searched may refuse the same key a moment later: so often, and so far apart, it is looked for.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(500);

/// Keeps nothing: a key that is a letter of the index already, and that the index that is searched lacks as well, is passed
/// over; any other one ends the work.
#[derive(Debug)]
pub struct Refusals {
    reader: String,
    letters: Arc<dyn DeadLetters>,
    versions: Arc<dyn Versions>,
    searched: Arc<dyn Inventory>,
    first: Mutex<Option<String>>,
    refused: CancellationToken,
}

impl Refusals {
    /// Beside the `letters` of the index `reader`, which is searched and made of what `versions` knows the versions of.
    #[must_use]
    pub fn new(
        reader: impl Into<String>,
        letters: Arc<dyn DeadLetters>,
        versions: Arc<dyn Versions>,
        searched: Arc<dyn Inventory>,
    ) -> Self {
        let (first, refused) = (Mutex::default(), CancellationToken::new());
        Self { reader: reader.into(), letters, versions, searched, first, refused }
    }

    /// Those of these keys that the index that is searched has not taken either: a letter may be about a row that was mended
    /// since.
    async fn lacking(&self, keys: &[String]) -> Result<HashSet<String>, Error> {
        let (states, held) = (self.versions.states(keys).await?, self.searched.versions(keys).await?);
        let is_lacking = |(state, held): (KeyState, Option<Version>)| {
            let difference = by_version(state.version, state.has_document, held);
            matches!(difference, Some(DifferenceKind::Missing | DifferenceKind::Stale)).then_some(state.key)
        };
        Ok(states.into_iter().zip(held).filter_map(is_lacking).collect())
    }

    /// Waits for the first key that is refused, and says why.
    pub(super) async fn first(&self) -> Error {
        self.refused.cancelled().await;
        self.error()
    }

    fn error(&self) -> Error {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Error::new(ErrorKind::Configuration, first.unwrap_or_default())
    }

    fn ours(&self, selection: &Selection) -> Selection {
        Selection { reader: Some(self.reader.clone()), ..selection.clone() }
    }
}

#[async_trait]
impl DeadLetters for Refusals {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let Some(key) = &letter.key else { return Ok(()) };
        let known = Selection { keys: Some(vec![key.clone()]), ..Selection::default() };
        for _ in 0..LOOKS {
            if !self.list(&known, 0, 1).await?.is_empty() {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        let key = letter.short_key().unwrap_or_default();
        let what = format!(
            "key {key:?} does not go into the index that is to be searched: {}. Mend the row, or give it up; if the index that \
             is searched now lacks it too, a backfill of {} makes it a dead letter, which is passed over here",
            letter.short_error(),
            self.reader
        );
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        self.refused.cancel();
        Err(self.error())
    }

    async fn list(&self, selection: &Selection, after: i64, limit: usize) -> Result<Vec<Kept>, Error> {
        let mut letters = self.letters.list(&self.ours(selection), after, limit).await?;
        let keys: Vec<_> = letters.iter().filter_map(|kept| kept.letter.key.clone()).collect();
        let lacking = self.lacking(&keys).await?;
        letters.retain(|kept| kept.letter.key.as_ref().is_some_and(|key| lacking.contains(key)));
        Ok(letters)
    }

    async fn get(&self, id: i64) -> Result<Option<Kept>, Error> {
        self.letters.get(id).await
    }

    async fn count(&self, selection: &Selection) -> Result<LetterCount, Error> {
        self.letters.count(&self.ours(selection)).await
    }

    async fn remove(&self, _: &[i64]) -> Result<u64, Error> {
        Ok(0)
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::adapter::memory::{MemoryDatabase, MemoryDeadLetters, MemorySink};
    use crate::port::{Origin, Projection, Sink, Write};

    fn letter(key: &str) -> DeadLetter {
        DeadLetter {
            reader: "jobs".to_owned(),
            origin: Origin::repair("jobs"),
            event: None,
            key: Some(key.to_owned()),
            value: None,
            error_kind: "refused".to_owned(),
            error: "no number".to_owned(),
            attempts: 1,
            parked_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_letter_about_what_the_searched_index_lacks_as_well_has_a_key_passed_over() {
        let (database, searched, letters) = (MemoryDatabase::default(), MemorySink::new(), MemoryDeadLetters::new());
        for key in ["taken", "stale", "missing"] {
            let mut transaction = database.begin("jobs");
            transaction.put(key, "{}");
            transaction.commit();
            letters.park(&letter(key)).await.unwrap();
        }
        let keys = ["taken".to_owned(), "stale".to_owned()];
        for row in database.load(&keys).await.unwrap() {
            let write = Write { key: row.key, version: row.version, document: row.document };
            searched.apply(&[write]).await.unwrap();
        }
        let mut transaction = database.begin("jobs");
        transaction.put("stale", "{}");
        transaction.commit();

        let refusals = Refusals::new("jobs", Arc::new(letters), Arc::new(database), Arc::new(searched));
        for known in ["stale", "missing"] {
            refusals.park(&DeadLetter { reader: "jobs-000002".to_owned(), ..letter(known) }).await.unwrap();
        }
        assert!(!refusals.refused.is_cancelled());
        let refused = refusals.park(&letter("taken")).await.unwrap_err();
        assert!(refused.to_string().contains("\"taken\"") && refused.to_string().contains("no number"), "{refused}");
        assert_eq!(refusals.first().await.to_string(), refused.to_string());
        let kept = refusals.list(&Selection::default(), 0, 9).await.unwrap();
        let kept: Vec<_> = kept.into_iter().filter_map(|kept| kept.letter.key).collect();
        assert_eq!(kept, ["stale", "missing"]);
    }
}
