//! One suite a port: what its documentation promises, checked the same way for every adapter.

pub mod bus;
mod concrete_indexes;
mod containers;
mod dead_letters;
mod host_names;
mod inventory;
mod leases;
mod ledger_source;
mod placements;
mod projection;
mod reindexes;
mod runs;
mod sagas;
mod searcher;
mod sink;
mod source;
pub mod transactions;
mod versions;
mod workspaces;

pub use concrete_indexes::{Behind, concrete_indexes};
pub use containers::{ContainersHarness, containers};
pub use dead_letters::{dead_letters, unannounced};
pub use host_names::host_names;
pub use inventory::inventory;
pub use leases::leases;
pub use ledger_source::ledger_source;
pub use placements::placements;
pub use projection::{Rows, projection};
pub use reindexes::{Followed, reindexes};
pub use runs::runs;
pub use sagas::{SagaHarness, sagas};
pub use searcher::{SearcherHarness, searcher};
pub use sink::sink;
pub use source::{Outbox, Transaction, source};
pub use versions::versions;
pub use workspaces::{OpenTransaction, WorkspacesHarness, workspaces};
