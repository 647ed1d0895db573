//! `[indexes.NAME]`: what an index is made of.

use std::path::PathBuf;

use super::reader::Section;
use super::search::Searchable;

/// The topic of an index that names none.
const TOPIC: &str = "job-es-sync";

/// One index: the topic that tells what changed, and the projection that says what the document is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    /// The topic whose messages it follows.
    pub(crate) topic: String,
    /// The alias that is searched.
    pub(crate) alias: String,
    /// The projection.
    pub(crate) projection: SourceFile,
    /// Settings and mappings of a new index.
    pub(crate) mapping: Option<SourceFile>,
    /// Where to note that a document is in the index.
    pub(crate) synced_at: Option<SyncedAt>,
    /// What of it people can search.
    pub(crate) search: Option<Searchable>,
}

/// A file and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// The column that is set to the current time once a row's document is in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncedAt {
    /// The table, as SQL names it.
    pub(crate) table: String,
    /// Its column with the document's key.
    pub(crate) key: String,
    /// Its `timestamptz` column.
    pub(crate) column: String,
}

impl Index {
    /// Settings and mappings of a new index, as JSON text.
    pub(crate) fn mapping_text(&self) -> &str {
        self.mapping.as_ref().map_or("{}", |mapping| &mapping.text)
    }

    /// Reads the index `name`; `None` when something it cannot do without is missing, which is then a problem.
    pub(super) fn read(mut section: Section<'_>, name: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if !name.chars().all(fits) || name.starts_with(['_', '-']) {
            let message = "the name of an index is lower-case letters, digits, _ and -, and begins with neither of \
                           the last two; an alias of any other name goes to `alias`";
            section.problem("alias", message);
        }
        let topic = section.text("topic").unwrap_or_else(|| TOPIC.to_owned());
        let alias = section.text("alias").unwrap_or_else(|| name.to_owned());
        let has_projection = section.has("projection");
        let projection = section.file("projection");
        if !has_projection {
            section.problem("projection", "is missing: the path of an SQL file that selects `key` and `document`");
        }
        let mapping = section.file("mapping");
        if let Some((path, text)) = &mapping
            && let Err(error) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
        {
            section.problem("mapping", format!("{} is not a JSON object: {error}", path.display()));
        }
        let synced_at = SyncedAt::read(section.section("synced_at"));
        let search = Searchable::read(section.section("search"), mapping.as_ref().map(|(_, text)| text.as_str()));
        let file = |(path, text)| SourceFile { path, text };
        Some(Self { topic, alias, projection: file(projection?), mapping: mapping.map(file), synced_at, search })
    }
}

impl SyncedAt {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let table = section.text("table");
        let key = section.text("key");
        let column = section.text("column");
        if table.is_none() && (key.is_some() || column.is_some()) {
            section.problem("table", "is missing: the table whose column is set");
        }
        let [key, column] = [(key, "id"), (column, "es_synced_at")].map(|(given, default)| match given {
            Some(given) => given,
            None => default.to_owned(),
        });
        Some(Self { table: table?, key, column })
    }
}
