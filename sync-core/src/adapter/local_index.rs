//! An index in a directory of this machine, inside the processes that use it: no cluster to run.
//!
//! ```text
//!  DIRECTORY/jobs/searched            the name of the concrete index that is searched
//!  DIRECTORY/jobs/jobs-000001/        state.json, mapping.json, lock, and tantivy's files in index/
//! ```
//!
//! What is applied is on disk before it is told so, and found by every search from then on. Of the processes of one machine
//! each may write, one at a time; a directory on a network must not be shared. What was deleted is remembered for an hour,
//! across restarts too.

mod alias;
mod check;
mod columns;
mod concrete_indexes;
mod document;
mod error;
mod fields;
mod files;
mod inventory;
mod searcher;
mod sink;
mod store;
mod words;
mod writing;

pub use self::alias::{LocalDirectory, LocalIndexConfig};
pub use self::check::LocalReport;
pub use self::concrete_indexes::LocalIndexes;
pub use self::searcher::LocalSearcher;
pub use self::sink::LocalSink;
