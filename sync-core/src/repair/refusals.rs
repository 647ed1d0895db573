//! The dead letters of an index that nobody searches yet: what only it refuses is for whoever fills it to know, and no
//! letter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
use crate::port::{DeadLetter, DeadLetters, Inventory, Kept, LetterCount, Selection, Versions};
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

    /// Whether the index that is searched has not taken this key either: a letter may be about a row that was mended since.
    async fn is_lacking(&self, key: &str) -> Result<bool, Error> {
        let keys = [key.to_owned()];
        let (states, held) = (self.versions.states(&keys).await?, self.searched.versions(&keys).await?);
        let difference = states
            .first()
            .zip(held.first())
            .and_then(|(state, held)| by_version(state.version, state.has_document, *held));
        Ok(matches!(difference, Some(DifferenceKind::Missing | DifferenceKind::Stale)))
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
        let keys = Some(vec![key.clone()]);
        let known = Selection { keys, reader: Some(self.reader.clone()), ..Selection::default() };
        for _ in 0..LOOKS {
            if self.letters.count(&known).await?.letters > 0 && self.is_lacking(key).await? {
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
        self.letters.list(&self.ours(selection), after, limit).await
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
