//! Everything in memory: the reference each port is measured against.

mod bus;
mod clock;
mod containers;
mod database;
mod dead_letters;
mod host_names;
mod inventory;
mod leases;
mod placements;
mod runs;
mod sagas;
mod searcher;
mod sink;
mod source;
mod transactor;
mod versions;
mod workspaces;

pub use bus::{MemoryBus, MemorySubscriber};
pub use clock::ManualClock;
pub use containers::MemoryContainers;
pub use database::{MemoryDatabase, MemoryTransaction};
pub use dead_letters::MemoryDeadLetters;
pub use host_names::MemoryHostNames;
pub use leases::MemoryLeases;
pub use placements::MemoryPlacements;
pub use runs::MemoryRuns;
pub use sagas::MemorySagas;
pub use searcher::MemorySearcher;
pub use sink::MemorySink;
pub use source::MemorySource;
pub use transactor::MemoryTransactor;
pub use workspaces::MemoryWorkspaces;
