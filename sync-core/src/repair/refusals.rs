//! The dead letters of an index that nobody searches yet: what only it refuses is for whoever fills it to know, and no
//! letter; and what another one refused is tried here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
use crate::port::{DeadLetter, DeadLetters, Inventory, KeptLetter, LetterCount, LetterSelection, Versions};
use crate::repair::difference::{DifferenceKind, by_version};

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

    /// Whether it is a letter already, and the index that is searched has not taken the key either: a letter may be about a
    /// row that was mended since.
    async fn is_known(&self, key: &str) -> Result<bool, Error> {
        let keys = vec![key.to_owned()];
        let (states, held) = (self.versions.states(&keys).await?, self.searched.versions(&keys).await?);
        let differs = states
            .first()
            .zip(held.first())
            .and_then(|(state, held)| by_version(state.version, state.has_document, *held));
        let is_lacking = matches!(differs, Some(DifferenceKind::Missing | DifferenceKind::Stale));
        let known =
            LetterSelection { keys: Some(keys), reader: Some(self.reader.clone()), ..LetterSelection::default() };
        Ok(is_lacking && self.letters.count(&known).await?.letters > 0)
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
}

#[async_trait]
impl DeadLetters for Refusals {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let Some(key) = &letter.key else { return Ok(()) };
        for _ in 0..LOOKS {
            if self.is_known(key).await? {
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

    /// None: what another index refused may well go into this one.
    async fn list(&self, _: &LetterSelection, _: i64, _: usize) -> Result<Vec<KeptLetter>, Error> {
        Ok(Vec::new())
    }

    async fn get(&self, _: i64) -> Result<Option<KeptLetter>, Error> {
        Ok(None)
    }

    async fn count(&self, _: &LetterSelection) -> Result<LetterCount, Error> {
        Ok(LetterCount::default())
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
        assert_eq!(
            refusals.list(&LetterSelection::default(), 0, 9).await.unwrap(),
            [],
            "each key is tried here as well"
        );
    }
}
