//! `[local_index]`: indexes in a directory of this machine.

use std::path::PathBuf;

use super::reader::Section;

/// Where the indexes are when there is no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalIndex {
    /// Their directory.
    pub(crate) directory: PathBuf,
}

impl Default for LocalIndex {
    fn default() -> Self {
        Self { directory: PathBuf::from("sync-indexes") }
    }
}

impl LocalIndex {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        Self { directory: section.path("directory").unwrap_or(default.directory) }
    }
}
