//! What can be said of a directory before anything is written to an index there.

use std::path::PathBuf;

use super::alias::{Alias, LocalDirectory, LocalIndexConfig};
use super::files::{self, off_thread};
use crate::error::Error;

/// A directory indexes can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalReport {
    /// Where it is.
    pub directory: PathBuf,
    /// It is there. Otherwise it is made with the first index.
    pub is_there: bool,
}

impl LocalDirectory {
    /// Whether indexes can be written there. Leaves nothing behind; dropped half-way, it goes on to its end.
    ///
    /// # Errors
    /// `Configuration`, `Denied`, `Unavailable`, naming `local_index.directory`.
    pub async fn check(&self) -> Result<LocalReport, Error> {
        let directory = self.path().to_owned();
        off_thread(move || {
            // Whoever may write there may make what is not there yet.
            let existing = directory.ancestors().find(|path| path.exists()).map(PathBuf::from).unwrap_or_default();
            let is_there = existing == directory;
            files::try_writing(if existing.as_os_str().is_empty() { ".".as_ref() } else { &existing })?;
            Ok(LocalReport { directory, is_there })
        })
        .await
    }

    /// Whether the index that is searched there, if there is one, can be read and is of the configured mapping: what is asked
    /// before anything is written to it. Makes no index; dropped half-way, it goes on to its end.
    ///
    /// # Errors
    /// `Configuration` when it is of another mapping, or damaged; `Denied`, `Unavailable`.
    pub async fn check_index(&self, config: LocalIndexConfig) -> Result<(), Error> {
        let alias = Alias::new(self, config)?;
        off_thread(move || match alias.searched()? {
            Some(concrete) if alias.open(&concrete)?.is_some() => alias.prepare().map(drop),
            Some(_) | None => Ok(()),
        })
        .await
    }
}
