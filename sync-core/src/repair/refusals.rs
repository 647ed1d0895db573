//! The dead letters of an index that nobody searches yet: what only it refuses is for whoever fills it to know, and no
//! letter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
use crate::port::{DeadLetter, DeadLetters, Kept, LetterCount, Selection};

/// The index that is searched may refuse the same key a moment later: so often, and so far apart, it is looked for.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(500);

/// Keeps nothing: a key that is a letter of the index already is passed over, and any other one ends the work.
#[derive(Debug)]
pub struct Refusals {
    reader: String,
    letters: Arc<dyn DeadLetters>,
    first: Mutex<Option<String>>,
    refused: CancellationToken,
}

impl Refusals {
    /// Beside the letters of the index `reader`.
    #[must_use]
    pub fn new(reader: impl Into<String>, letters: Arc<dyn DeadLetters>) -> Self {
        Self { reader: reader.into(), letters, first: Mutex::default(), refused: CancellationToken::new() }
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
        let keys = letter.key.clone().map(|key| vec![key]);
        let known = Selection { keys, reader: Some(self.reader.clone()), ..Selection::default() };
        for _ in 0..LOOKS {
            if letter.key.is_none() || self.letters.count(&known).await?.letters > 0 {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        let key = letter.short_key().unwrap_or_default();
        let what = format!(
            "key {key:?} does not go into the new index: {}. Mend the row or the mapping; if the index that is searched lacks \
             it too, a backfill of {} makes it a dead letter, which is passed over here",
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
