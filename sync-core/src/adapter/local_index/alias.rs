//! Which concrete index is searched under a name, and where all of them are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::fields::IndexFields;
use super::files::{self, Lock};
use super::store::{State, Store};
use super::writing::Forgot;
use crate::error::{Error, ErrorKind};
use crate::port::History;

/// Which index, and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalIndexConfig {
    /// The name of the index in the configuration, for errors to name.
    pub name: String,
    /// The name under which it is searched, and of its directory; the index's `name` unless said.
    pub alias: String,
    /// JSON text with `mappings`, as for "create index" of Elasticsearch; `settings` mean nothing here. Of types other than
    /// `text`, `keyword`, `long`, `integer`, `short`, `byte`, `double`, `date`, `boolean` and objects, values are kept and not
    /// searched.
    pub mapping: String,
}

impl LocalIndexConfig {
    /// An index of this name, searched under the same, made of this mapping.
    #[must_use]
    pub fn new(name: impl Into<String>, mapping: impl Into<String>) -> Self {
        let name = name.into();
        Self { alias: name.clone(), name, mapping: mapping.into() }
    }
}

setters! {
    LocalIndexConfig {
        alias: into String,
    }
}

/// A directory of indexes. Clones share what is open: in one process, let there be one for each directory.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    path: Arc<Path>,
    open: Arc<Mutex<HashMap<PathBuf, Arc<Opened>>>>,
}

/// An index that is open in this process.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) forgot: Forgot,
}

const SEARCHED: &str = "searched";
const LOCK: &str = "lock";

impl LocalDirectory {
    /// This one, which is made when its first index is. Touches no disk.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), open: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The indexes behind one name.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    within: LocalDirectory,
    name: String,
    alias: String,
    mapping: Arc<str>,
}

impl Alias {
    /// # Errors
    /// `Configuration`, naming the index: when the alias is no name of a directory, or the mapping is none.
    pub(super) fn new(within: &LocalDirectory, config: LocalIndexConfig) -> Result<Self, Error> {
        let LocalIndexConfig { name, alias, mapping } = config;
        let is_name =
            !alias.is_empty() && !alias.starts_with('.') && !alias.contains(['/', '\0', '\\']) && alias.len() <= 200;
        if !is_name {
            let what = format!("indexes.{name}.alias: {alias:?} is no name for a directory");
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        IndexFields::of_mapping(&mapping, &format!("indexes.{name}.mapping"))?;
        Ok(Self { within: within.clone(), name, alias, mapping: mapping.into() })
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.within.path.join(&self.alias)
    }

    pub(super) fn alias(&self) -> &str {
        &self.alias
    }

    /// The index that is searched; `None` when there is none.
    ///
    /// # Errors
    /// `Configuration` when what says so names none of ours; what the file system says.
    pub(super) fn searched(&self) -> Result<Option<String>, Error> {
        let place = self.directory().join(SEARCHED);
        let Some(read) = files::read(&place)? else { return Ok(None) };
        let concrete = read.trim();
        if self.number(concrete).is_none() {
            let what = format!(
                "local_index.directory: {} names no index of {}: write the name of a directory beside it into it, such as {}",
                place.display(),
                self.alias,
                self.numbered(1)
            );
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        Ok(Some(concrete.to_owned()))
    }

    /// Has this one be searched. Only with the lock.
    pub(super) fn search(&self, _: &Lock, concrete: &str) -> Result<(), Error> {
        files::write(&self.directory().join(SEARCHED), concrete)
    }

    /// Waits until nobody else changes which index is searched.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        let directory = self.directory();
        files::make_directory(&directory)?;
        Lock::wait(&directory.join(LOCK))
    }

    /// The name of the index that comes after this many.
    pub(super) fn numbered(&self, number: u64) -> String {
        format!("{}-{number:06}", self.alias)
    }

    /// The number of an index of ours.
    pub(super) fn number(&self, concrete: &str) -> Option<u64> {
        concrete.strip_prefix(&self.alias)?.strip_prefix('-')?.parse().ok()
    }

    /// One of the indexes, open; `None` when there is none of that name.
    pub(super) fn open(&self, concrete: &str) -> Result<Option<Arc<Opened>>, Error> {
        let directory = self.directory();
        let path = directory.join(concrete);
        let known = {
            let mut open = self.open_here();
            // What was deleted by whoever made another one is let go of, and with it the room on the disk.
            open.retain(|other, opened| {
                *other == path || !other.starts_with(&directory) || !matches!(opened.store.state(), Ok(None))
            });
            open.get(&path).cloned()
        };
        if let Some(known) = known
            && known.store.state()?.is_some()
        {
            return Ok(Some(known));
        }
        let opened = Store::open(&path, &self.name)?.map(|store| Arc::new(Opened { store, forgot: Forgot::default() }));
        match &opened {
            Some(opened) => drop(self.open_here().insert(path, Arc::clone(opened))),
            None => drop(self.open_here().remove(&path)),
        }
        Ok(opened)
    }

    fn open_here(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Arc<Opened>>> {
        // No insertion leaves the map half-changed.
        self.within.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an index of this name, of the configured mapping, unless there is one.
    pub(super) fn make(
        &self,
        _: &Lock,
        concrete: &str,
        reindex: Option<i64>,
        history: Option<History>,
    ) -> Result<(), Error> {
        match self.open(concrete)? {
            Some(_) => Ok(()),
            None => {
                Store::make(&self.directory().join(concrete), &self.name, &self.mapping, &State::new(reindex, history))
            }
        }
    }

    /// Sees that there is an index to be searched, and that it is of the configured mapping. Returns its name.
    ///
    /// # Errors
    /// `Configuration` when it is of another one; what the file system says.
    pub(super) fn prepare(&self) -> Result<String, Error> {
        let lock = self.lock()?;
        let concrete = self.searched()?.unwrap_or_else(|| self.numbered(1));
        self.make(&lock, &concrete, None, None)?;
        self.search(&lock, &concrete)?;
        drop(lock);
        let Some(opened) = self.open(&concrete)? else { return Ok(concrete) };
        let is_configured = same_fields(&opened.store.mapping, &self.mapping);
        let made_by_reindex = opened.store.state()?.is_some_and(|state| state.reindex.is_some());
        match (is_configured, made_by_reindex) {
            (true, _) => {}
            (false, true) => tracing::warn!(
                alias = self.alias,
                index = concrete,
                "the index is of another mapping than the configured one, which a re-index made or left: set indexes.{}.mapping to \
                 that of the index that is searched",
                self.name
            ),
            (false, false) => {
                let what = format!(
                    "indexes.{0}.mapping: {concrete} was made of other fields, and a local index gets none in addition; \
                     `sync-runner reindex {0}` (`repair::Reindex`) makes it anew of this mapping",
                    self.name
                );
                return Err(Error::new(ErrorKind::Configuration, what));
            }
        }
        Ok(concrete)
    }

    /// That the rows have to be read again: another index has other memories of deletes.
    pub(super) fn moved(&self, to: &str) -> Error {
        let what = format!("{to} is searched as {} now; the rows are read again", self.alias);
        Error::new(ErrorKind::Blocked, what)
    }

    /// That there is nothing to search yet.
    pub(super) fn missing(&self) -> Error {
        let what = format!("there is no index in {} yet", self.directory().display());
        Error::new(ErrorKind::Unavailable, what)
    }
}

/// Whether two mappings say the same of fields. Settings mean nothing here.
fn same_fields(one: &str, other: &str) -> bool {
    let mappings = |text: &str| {
        let whole: Option<serde_json::Value> = serde_json::from_str(text).ok();
        whole.and_then(|mut whole| whole.get_mut("mappings").map(serde_json::Value::take)).unwrap_or_default()
    };
    mappings(one) == mappings(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_somebody_deleted_is_let_go_of() {
        let files = tempfile::TempDir::new().unwrap();
        let directory = LocalDirectory::new(files.path());
        let alias = Alias::new(&directory, LocalIndexConfig::new("jobs", "{}")).unwrap();
        let lock = alias.lock().unwrap();
        for concrete in ["jobs-000001", "jobs-000002"] {
            alias.make(&lock, concrete, None, None).unwrap();
            assert!(alias.open(concrete).unwrap().is_some());
        }
        assert_eq!(alias.open_here().len(), 2);
        files::remove_directory(&alias.directory().join("jobs-000001")).unwrap();
        assert!(alias.open("jobs-000002").unwrap().is_some());
        assert_eq!(alias.open_here().len(), 1);
    }
}
