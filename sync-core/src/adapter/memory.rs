//! Everything in memory: the reference each port is measured against.

mod bus;
mod clock;
mod database;
mod dead_letters;
mod inventory;
mod runs;
mod searcher;
mod sink;
mod source;
mod transactor;
mod versions;

pub use bus::{MemoryBus, MemorySubscriber};
pub use clock::ManualClock;
pub use database::{MemoryDatabase, MemoryTransaction};
pub use dead_letters::MemoryDeadLetters;
pub use runs::MemoryRuns;
pub use searcher::MemorySearcher;
pub use sink::MemorySink;
pub use source::MemorySource;
pub use transactor::MemoryTransactor;
