//! One concrete index on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tantivy::directory::{META_LOCK, MmapDirectory};
use tantivy::schema::{Field, Value};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError};

use super::columns::{Held, Keys};
use super::error::{mend, of_index};
use super::fields::IndexFields;
use super::files::{self, Lock};
use super::words::{WORDS, Words};
use crate::error::{Error, ErrorKind};
use crate::port::{History, Stored};

/// What is known of an index beside its documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Tells it from another one of the same name.
    pub(super) id: String,
    /// The number of the re-index it was made for.
    pub(super) reindex: Option<i64>,
    /// Nothing is written to it any more.
    pub(super) is_sealed: bool,
    epoch: Option<i32>,
    token: Option<String>,
}

impl State {
    /// Of an index that was just made.
    pub(super) fn new(reindex: Option<i64>, history: Option<History>) -> Self {
        let id = format!("{:016x}", rand::random::<u64>());
        let state = Self { id, reindex, is_sealed: false, epoch: None, token: None };
        history.into_iter().fold(state, Self::recorded)
    }

    pub(super) fn recorded(self, History { epoch, token }: History) -> Self {
        Self { epoch: Some(epoch), token: Some(token), ..self }
    }

    pub(super) fn sealed(self, is_sealed: bool) -> Self {
        Self { is_sealed, ..self }
    }

    pub(super) fn history(&self) -> Option<History> {
        Some(History { epoch: self.epoch?, token: self.token.clone()? })
    }
}

/// Which state of the files a reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    file: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// An index that is open. What others write to it is seen, too.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    /// Where its files are, in the directory.
    files: PathBuf,
    name: String,
    id: String,
    pub(super) mapping: String,
    pub(super) fields: IndexFields,
    reader: Reader,
}

struct Reader {
    reader: IndexReader,
    seen: Mutex<Option<Seen>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("seen", &self.seen).finish_non_exhaustive()
    }
}

const STATE: &str = "state.json";
const MAPPING: &str = "mapping.json";
const LOCK: &str = "lock";

/// What the names of directories of files begin with. Each index has another one: whoever still writes to one that was deleted
/// does not write into the one that was made in its place.
const FILES: &str = "index-";

/// For so long somebody may be deleting an index.
const DELETING: Duration = Duration::from_millis(100);

/// For so long somebody may be opening its files.
const READING: Duration = Duration::from_secs(1);

impl Store {
    /// Makes an index where there is none. Its state is written last: without it there is no index.
    ///
    /// # Errors
    /// `Configuration` when the mapping is none; what the file system says.
    pub(super) fn make(directory: &Path, name: &str, mapping: &str, state: &State) -> Result<(), Error> {
        let fields = IndexFields::of_mapping(mapping, &directory.join(MAPPING).display().to_string())?;
        // What a process left that died while it made one.
        files::remove_directories(directory, FILES)?;
        let files = files_of(directory, &state.id);
        files::make_directory(&files)?;
        Index::create_in_dir(&files, fields.schema)
            .map_err(|error| of_index(error, "making the index in", directory, name))?;
        files::write(&directory.join(MAPPING), mapping)?;
        write_state(directory, state)
    }

    /// Opens it; `None` when there is none. Errors name what it is called in the configuration.
    ///
    /// # Errors
    /// `Configuration` when it cannot be read; what the file system says.
    pub(super) fn open(directory: &Path, name: &str) -> Result<Option<Self>, Error> {
        let Some(state) = read_state(directory)? else { return Ok(None) };
        match Self::open_files(directory, name, state.id.clone()) {
            Ok(store) => Ok(Some(store)),
            // What somebody is deleting, and another one is made in the place of, looks like what is damaged.
            Err(error) if error.kind() == ErrorKind::Configuration && is_going(directory, &state.id) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_files(directory: &Path, name: &str, id: String) -> Result<Self, Error> {
        let place = directory.join(MAPPING);
        let Some(mapping) = files::read(&place)? else {
            let what = format!("local_index.directory: {} is missing{}", place.display(), mend(directory, name));
            return Err(Error::new(ErrorKind::Configuration, what));
        };
        let fields = IndexFields::of_mapping(&mapping, &place.display().to_string())?;
        let files = files_of(directory, &id);
        let opened = || {
            let index = open_index(&files)?;
            if index.schema() != fields.schema {
                return Err(TantivyError::SchemaError("its files are of another mapping".to_owned()));
            }
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()
        };
        wait_for_readers(&files)?;
        let reader = opened().map_err(|error| of_index(error, "opening the index in", directory, name))?;
        let reader = Reader { reader, seen: Mutex::new(None) };
        Ok(Self { directory: directory.to_owned(), files, name: name.to_owned(), id, mapping, fields, reader })
    }

    /// What writes to it, for this once. Only with the lock: what others wrote since would not be in its list of files, and
    /// never be removed.
    pub(super) fn writer(&self, _: &Lock, memory: usize) -> Result<IndexWriter, Error> {
        wait_for_readers(&self.files)?;
        let writer = open_index(&self.files).and_then(|index| index.writer_with_num_threads(1, memory));
        writer.map_err(|error| self.failed(error))
    }

    /// Its state now; `None` when it is gone, or another one has its name.
    pub(super) fn state(&self) -> Result<Option<State>, Error> {
        Ok(read_state(&self.directory)?.filter(|state| state.id == self.id))
    }

    /// Waits until nobody else writes to it, and keeps it so.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        Lock::wait(&self.directory.join(LOCK))
    }

    /// Changes its state, which it returns.
    ///
    /// # Errors
    /// `Configuration` when it is gone; what the file system says.
    pub(super) fn change(&self, change: impl FnOnce(State) -> State) -> Result<State, Error> {
        let _lock = self.lock()?;
        let Some(state) = self.state()? else { return Err(self.gone()) };
        let changed = change(state.clone());
        if changed != state {
            write_state(&self.directory, &changed)?;
        }
        Ok(changed)
    }

    /// That it is not there any more.
    pub(super) fn gone(&self) -> Error {
        Error::new(ErrorKind::Configuration, format!("the index in {} is gone", self.directory.display()))
    }

    /// What it holds now: whatever was applied before, by whomever.
    pub(super) fn searcher(&self) -> Result<Searcher, Error> {
        let meta = self.files.join("meta.json");
        let now = fs::metadata(&meta).map_err(|error| super::error::of_files(error, "looking at", &meta))?;
        let now = Seen { file: now.ino(), seconds: now.mtime(), nanoseconds: now.mtime_nsec() };
        let mut seen = self.reader.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != Some(now) {
            wait_for_readers(&self.files)?;
            self.reader.reader.reload().map_err(|error| self.failed(error))?;
            *seen = Some(now);
        }
        Ok(self.reader.reader.searcher())
    }

    /// What it holds of one key.
    pub(super) fn stored(&self, searcher: &Searcher, keys: &Keys<'_>, key: &str) -> Result<Option<Stored>, Error> {
        let read = || {
            let Some(Held { version, at, .. }) = keys.find(key)?.filter(|held| held.is_live) else { return Ok(None) };
            Ok(Some(Stored { version, document: self.document(&searcher.doc(at)?)? }))
        };
        read().map_err(|error| self.failed(error))
    }

    /// The text of a document.
    pub(super) fn document(&self, document: &TantivyDocument) -> Result<String, TantivyError> {
        stored_text(document, self.fields.document)
    }

    /// The key of a document.
    pub(super) fn key(&self, document: &TantivyDocument) -> Result<String, TantivyError> {
        stored_text(document, self.fields.key)
    }

    /// What its files say of an error.
    pub(super) fn failed(&self, error: TantivyError) -> Error {
        let error = of_index(error, "working on the index in", &self.directory, &self.name);
        if error.kind() == ErrorKind::Configuration && is_going(&self.directory, &self.id) {
            return Error::new(ErrorKind::Unavailable, self.gone().to_string()).with_source(error);
        }
        error
    }
}

fn files_of(directory: &Path, id: &str) -> PathBuf {
    directory.join(format!("{FILES}{id}"))
}

/// Its files as they are now.
fn open_index(files: &Path) -> tantivy::Result<Index> {
    let index = Index::open(MmapDirectory::open(files)?)?;
    index.tokenizers().register(WORDS, Words);
    Ok(index)
}

/// Whether somebody is deleting the one with this id; that takes a moment, in which a part of it is there.
fn is_going(directory: &Path, id: &str) -> bool {
    sleep(DELETING);
    read_state(directory).is_ok_and(|state| state.is_none_or(|state| state.id != id))
}

/// Waits until nobody opens its files. Tantivy waits for that as well, and for ever: also for a process that was stopped.
fn wait_for_readers(files: &Path) -> Result<(), Error> {
    if !files.is_dir() {
        return Ok(());
    }
    Lock::wait_for(&files.join(&META_LOCK.filepath), READING).map(drop)
}

fn stored_text(document: &TantivyDocument, field: Field) -> Result<String, TantivyError> {
    let text = document.get_first(field).and_then(|value| value.as_str().map(str::to_owned));
    text.ok_or_else(|| TantivyError::InternalError("a document without its text".to_owned()))
}

fn read_state(directory: &Path) -> Result<Option<State>, Error> {
    let path = directory.join(STATE);
    let Some(text) = files::read(&path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let what = format!("local_index.directory: {} is not what an index has there", path.display());
        Error::new(ErrorKind::Configuration, what).with_source(error)
    })
}

fn write_state(directory: &Path, state: &State) -> Result<(), Error> {
    let text = serde_json::to_string(state)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write a state").with_source(error))?;
    files::write(&directory.join(STATE), &text)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const MAPPING: &str = r#"{"mappings":{"properties":{"title":{"type":"text"}}}}"#;

    #[test]
    fn whoever_still_writes_to_an_index_that_was_deleted_leaves_the_one_in_its_place_alone() {
        let within = TempDir::new().unwrap();
        let directory = within.path().join("jobs-000001");
        let make = || {
            fs::create_dir_all(&directory).unwrap();
            Store::make(&directory, "jobs", MAPPING, &State::new(None, None)).unwrap();
            Store::open(&directory, "jobs").unwrap().unwrap()
        };
        let deleted = make();
        let lock = deleted.lock().unwrap();
        let mut late = deleted.writer(&lock, 32 << 20).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        let made = make();
        // Whether it is told of an error says nothing about what it did.
        drop(late.commit());
        assert_eq!(made.searcher().unwrap().num_docs(), 0);
        let error = deleted.searcher().map(drop).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Configuration, "{error}: nothing is to be deleted");
        assert!(is_going(&directory, &deleted.id) && !is_going(&directory, &made.id));
        assert_eq!(Store::open(&directory, "jobs").unwrap().unwrap().id, made.id);
    }
}
