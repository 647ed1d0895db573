//! One suite a port: what its documentation promises, checked the same way for every adapter.

pub mod bus;
mod concrete_indexes;
mod dead_letters;
mod inventory;
mod ledger_source;
mod projection;
mod reindexes;
mod runs;
mod searcher;
mod sink;
mod source;
pub mod transactions;
mod versions;

pub use concrete_indexes::{Behind, concrete_indexes};
pub use dead_letters::{dead_letters, unannounced};
pub use inventory::inventory;
pub use ledger_source::ledger_source;
pub use projection::{Rows, projection};
pub use reindexes::{Followed, reindexes};
pub use runs::runs;
pub use searcher::{SearcherHarness, searcher};
pub use sink::sink;
pub use source::{Outbox, Transaction, source};
pub use versions::versions;
