//! An index in a directory as a sink.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tantivy::Term;
use tantivy::collector::Count;
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tokio::time::Instant;

use super::alias::{Alias, LocalDirectory, LocalIndexConfig, Opened};
use super::columns::Keys;
use super::files::off_thread;
use super::writing;
use crate::error::Error;
use crate::port::{History, Outcome, Sink, Stored, Write};

/// An index in a directory, written under the versions of its documents. Clones share it.
#[derive(Clone, Debug)]
pub struct LocalSink {
    pub(super) alias: Alias,
    place: Place,
}

/// Which concrete index is written to.
#[derive(Clone, Debug)]
enum Place {
    /// The one that is searched.
    Searched(Arc<Mutex<Last>>),
    /// This one, whoever is searched.
    Fixed(Arc<str>),
}

/// What was searched when it was looked last.
#[derive(Debug, Default)]
struct Last {
    name: Option<String>,
    /// When that was another one than before.
    moved_at: Option<Instant>,
}

impl LocalSink {
    /// Checks the configuration; touches no disk.
    ///
    /// # Errors
    /// `Configuration`, naming `indexes.<name>.alias` or `indexes.<name>.mapping`.
    pub fn new(directory: &LocalDirectory, config: LocalIndexConfig) -> Result<Self, Error> {
        Ok(Self { alias: Alias::new(directory, config)?, place: Place::Searched(Arc::default()) })
    }

    /// The same for one concrete index, which is there, and which may be searched or not.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn of_concrete(directory: &LocalDirectory, config: LocalIndexConfig, concrete: &str) -> Result<Self, Error> {
        Ok(Self { alias: Alias::new(directory, config)?, place: Place::Fixed(concrete.into()) })
    }

    /// The index that is written to and asked, made when there is none to be searched.
    ///
    /// # Errors
    /// `Blocked`, once, when another one is searched than the time before; `Configuration` when it is gone.
    fn opened(&self) -> Result<Arc<Opened>, Error> {
        let concrete = match &self.place {
            Place::Fixed(name) => name.to_string(),
            Place::Searched(last) => {
                let found = self.alias.searched()?;
                if found.is_none()
                    && let Some(known) = &last.lock().unwrap_or_else(PoisonError::into_inner).name
                {
                    self.tell_gone(known);
                }
                let searched = found.map_or_else(|| self.alias.prepare(), Ok)?;
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let before = last.name.replace(searched.clone());
                if before.is_some_and(|before| before != searched) {
                    last.moved_at = Some(Instant::now());
                    return Err(self.alias.moved(&searched));
                }
                searched
            }
        };
        if let Some(opened) = self.alias.open(&concrete)? {
            return Ok(opened);
        }
        if let Place::Searched(_) = self.place {
            self.tell_gone(&concrete);
            self.alias.prepare()?;
        }
        let gone = || {
            let what = format!("{} is no index in {}", concrete, self.alias.directory().display());
            Error::new(crate::error::ErrorKind::Configuration, what)
        };
        self.alias.open(&concrete)?.ok_or_else(gone)
    }

    fn tell_gone(&self, concrete: &str) {
        tracing::warn!(
            alias = self.alias.alias(),
            index = concrete,
            "the index is gone; one is created from the configured mapping, and lacks every document until it changes; \
             a backfill brings all"
        );
    }

    /// How many documents there are; `None` when there is no index. Unlike `count` of the port, it makes none.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn documents(&self) -> Result<Option<u64>, Error> {
        let sink = self.clone();
        off_thread(move || {
            let concrete = match &sink.place {
                Place::Fixed(name) => Some(name.to_string()),
                Place::Searched(_) => sink.alias.searched()?,
            };
            let opened = concrete.map(|concrete| sink.alias.open(&concrete)).transpose()?.flatten();
            opened.map(|opened| opened.count()).transpose()
        })
        .await
    }

    /// Does something with the index where waiting for the disk holds up nobody.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let sink = self.clone();
        off_thread(move || work(&*sink.opened()?)).await
    }
}

#[async_trait]
impl Sink for LocalSink {
    async fn prepare(&self) -> Result<(), Error> {
        let sink = self.clone();
        off_thread(move || match &sink.place {
            Place::Fixed(_) => sink.opened().map(drop),
            Place::Searched(_) => sink.alias.prepare().map(drop),
        })
        .await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let (writes, now) = (writes.to_vec(), Timestamp::now().as_second());
        self.with(move |opened| writing::apply(&opened.store, &opened.forgot, now, &writes)).await
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        let wanted = keys.to_vec();
        self.with(move |Opened { store, .. }| {
            let searcher = store.searcher()?;
            let keys = Keys::of(&searcher, &store.fields).map_err(|error| store.failed(error))?;
            wanted.iter().map(|key| store.stored(&searcher, &keys, key)).collect()
        })
        .await
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        self.with(|Opened { store, .. }| Ok(store.state()?.ok_or_else(|| store.gone())?.history())).await
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        let history = history.clone();
        self.with(|Opened { store, .. }| store.change(|state| state.recorded(history)).map(drop)).await
    }

    fn moved_at(&self) -> Option<Instant> {
        match &self.place {
            Place::Fixed(_) => None,
            Place::Searched(last) => last.lock().unwrap_or_else(PoisonError::into_inner).moved_at,
        }
    }

    /// Nobody else makes such an index.
    async fn is_foreign(&self) -> Result<bool, Error> {
        Ok(false)
    }

    async fn count(&self) -> Result<u64, Error> {
        self.with(Opened::count).await
    }
}

impl Opened {
    fn count(&self) -> Result<u64, Error> {
        let live = Term::from_field_bool(self.store.fields.live, true);
        let count = self.store.searcher()?.search(&TermQuery::new(live, IndexRecordOption::Basic), &Count);
        count.map(|count| count as u64).map_err(|error| self.store.failed(error))
    }
}
