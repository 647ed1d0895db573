//! Ports: what the rooms need of the world. Traits only, one a file; their documentation is the contract, and
//! `testkit::conformance` checks it for every adapter.

mod alerts;
mod bus;
mod clock;
mod concrete_indexes;
mod containers;
mod dead_letters;
mod history;
mod host_names;
mod inventory;
mod leases;
mod ledger;
mod placements;
mod projection;
mod reindexes;
mod runs;
mod sagas;
mod searcher;
mod sink;
mod source;
mod tracer;
mod transactor;
mod versions;
mod workspaces;

pub use alerts::{Alert, AlertHandler, ConditionAlert, ConditionState, LetterAlert, Severity, Unannounced};
pub use bus::{
    Acknowledgement, Consumer, Incoming, OffsetCommit, Partition, PartitionLag, Polled, Publisher, Subscriber,
};
pub use clock::Clock;
pub use concrete_indexes::ConcreteIndexes;
pub use containers::{Attached, Container, ContainerSpec, Containers, Executed};
pub use dead_letters::{DeadLetter, DeadLetters, KeptLetter, LetterCount, LetterSelection, Origin};
pub use history::History;
pub use host_names::{HostNames, check_host_name};
pub use inventory::{Inventoried, Inventory, InventoryCursor};
pub use leases::Leases;
pub use ledger::{Claim, LedgerSource, Mark, Resumed, Unresumed};
pub use placements::{AddressRange, Placement, Placements};
pub use projection::{Current, Projection};
pub use reindexes::{ReindexOf, ReindexPhase, Reindexes, Reindexing};
pub use runs::{PastRun, Run, RunKind, RunState, Runs};
pub use sagas::{
    HeldSaga, PastSaga, Saga, SagaClaim, SagaEnding, SagaEvent, SagaFailure, SagaLog, SagaOrder, SagaOutcome, Sagas,
};
pub use searcher::{AwaitedWrite, Counted, Facet, Found, Hit, Searcher, Total};
pub use sink::{Outcome, Sink, Stored, Write};
pub use source::{Batch, Cursor, Feed, Position, Reader, Source, SourceLag, Withheld};
pub use tracer::{Span, SpanKind, Tracer};
pub use transactor::{Transactions, Transactor};
pub use versions::{Changed, KeyState, Versions};
pub use workspaces::{Sighting, WorkspaceState, Workspaces, check_workspace_id};
