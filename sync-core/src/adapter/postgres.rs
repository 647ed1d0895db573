//! PostgreSQL: the outbox as a source, the projection, dead letters, runs, sagas, workspaces.

mod connect;
mod dead_letters;
mod emit;
mod error;
mod history;
mod holder;
mod leases;
mod migrate;
mod placements;
mod projection;
mod reindexes;
mod runs;
mod sagas;
mod searcher;
mod source;
mod workspaces;

pub use connect::{PoolUsage, Postgres, PostgresConfig};
pub use dead_letters::PostgresDeadLetters;
pub use emit::{Emit, emit};
pub use holder::this_process;
pub use leases::PostgresLeases;
pub use migrate::{migrate, pending, rehearse};
pub use placements::PostgresPlacements;
pub use projection::{PostgresProjection, ProjectionConfig, SyncedAt};
pub use reindexes::{PostgresReindexes, ReindexesConfig};
pub use runs::{PostgresRuns, RunsConfig};
pub use sagas::{EndingStatement, EndingStatements, PostgresSagas, SagasConfig};
pub use searcher::{PostgresSearcher, PostgresSearcherConfig, SearchIndex, SearchIndexes};
#[cfg(feature = "testkit")]
pub use source::read_headers;
pub use source::{LargePayload, PostgresSource, Rewound, SourceConfig};
pub use workspaces::{PostgresWorkspaces, WorkspaceStatements};
